// Speaks HTTP/2 and HTTP/1.1 over TLS for a server on this machine that speaks plain HTTP/1.1 only.
// Arguments: a file with a certificate and its key, and the server's port. It prints its own port, and serves until its
// standard input ends.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';

const [, , certificate, port] = process.argv;
const pem = readFileSync(certificate);
const ONE_HOP = ['connection', 'keep-alive', 'transfer-encoding'];

const server = http2.createSecureServer({ key: pem, cert: pem, allowHTTP1: true }, (request, response) => {
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !name.startsWith(':')));
  headers.host = request.authority ?? headers.host;
  const onward = http.request({ port, method: request.method, path: request.url, headers }, (answer) => {
    response.writeHead(answer.statusCode, Object.fromEntries(
      Object.entries(answer.headers).filter(([name]) => !ONE_HOP.includes(name)),
    ));
    answer.pipe(response);
  });
  request.pipe(onward);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit());
