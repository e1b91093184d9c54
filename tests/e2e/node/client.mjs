// A request by one of Node's HTTP libraries, which is used as its first example does. Prints the answer's status.
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { once } from 'node:events';

const WITH = {
  fetch: async (url) => (await fetch(url)).status,
  http: async (url) => {
    const [answer] = await once((url.startsWith('https:') ? https : http).get(url), 'response');
    answer.resume();
    return answer.statusCode;
  },
  http2: async (url) => {
    const { origin, pathname } = new URL(url);
    const session = http2.connect(origin);
    const failed = once(session, 'error').then(([error]) => { throw error; });
    failed.catch(() => {});
    const [headers] = await Promise.race([once(session.request({ ':path': pathname }), 'response'), failed]);
    session.destroy();
    return headers[':status'];
  },
  undici: async (url) => (await (await import('undici')).request(url)).statusCode,
  axios: async (url) => (await (await import('axios')).default.get(url, { validateStatus: null })).status,
};

const [, , library, url] = process.argv;
console.log(await WITH[library](url));
