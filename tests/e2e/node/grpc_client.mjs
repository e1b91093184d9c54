// One unary call of gRPC through a proxy, with @grpc/grpc-js: node grpc_client.mjs TARGET METHOD CA MESSAGE
// The proxy is the one of https_proxy. It prints {"code", "details"} or {"answer"}.
import { readFileSync } from "node:fs";
import { Client, credentials } from "@grpc/grpc-js";

const [target, method, ca, message] = process.argv.slice(2);
const client = new Client(target, credentials.createSsl(readFileSync(ca)));
const bytes = (value) => value;
const deadline = Date.now() + 20_000;
client.makeUnaryRequest(method, bytes, bytes, Buffer.from(message), { deadline }, (error, answer) => {
  console.log(JSON.stringify(error ? { code: error.code, details: error.details } : { answer: answer.toString() }));
  client.close();
});
