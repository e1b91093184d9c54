// oidc-provider, a certified authorization server, and an API that introspects its tokens (RFC 7662).
// Prints one line of JSON with both origins. GET /stats on the API tells how many token requests and calls there were.
// Ends when its standard input does, so it cannot outlive the test that started it.
import { createServer } from 'node:http';

// oidc-provider 9 wants node 22, of which it uses this one function that node 20 lacks.
URL.parse ??= (url, base) => { try { return new URL(url, base); } catch { return null; } };
const { Provider } = await import('oidc-provider');

const listen = (server) => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
});
const stats = { token_requests: 0, calls: 0, refused: 0 };

// oidc-provider's own memory adapter forgets tokens after about a thousand.
const store = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) { store.set(this.key(id), payload); }
  async find(id) { return store.get(this.key(id)); }
  async destroy(id) { store.delete(this.key(id)); }
}

const secret = 'canary-secret-of-at-least-32-characters';
const client = (client_id, token_endpoint_auth_method, client_secret = secret) => ({
  client_id, client_secret, token_endpoint_auth_method, grant_types: ['client_credentials'], response_types: [],
  redirect_uris: [], scope: 'read write',
});

let handleOp;
const op = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/token') stats.token_requests += 1;
  handleOp(request, response);
});
const issuer = await listen(op);
const provider = new Provider(issuer, {
  adapter: Adapter,
  clients: [
    client('post', 'client_secret_post'),
    client('basic', 'client_secret_basic'),
    client('strange :id+&=', 'client_secret_basic', 'p@ss:w%rd +&=/"~'),
    client('strange post', 'client_secret_post', 'p@ss:w%rd +&=/"~'),
    { ...client('api', 'client_secret_basic'), grant_types: [], scope: undefined },
  ],
  scopes: ['read', 'write'],
  cookies: { keys: ['test'] },
  ttl: { ClientCredentials: 300 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({ scope: 'read', audience: resource, accessTokenFormat: 'opaque' }),
    },
  },
});
handleOp = provider.callback();

const api = createServer(async (request, response) => {
  const answer = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(`${JSON.stringify(body)}\n`);
  };
  if (request.url === '/stats') return answer(200, stats);
  stats.calls += 1;
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const introspection = token && await (await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`api:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ token }),
  })).json();
  if (!introspection?.active) {
    stats.refused += 1;
    return answer(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  return answer(200, { path: request.url, client_id: introspection.client_id, scope: introspection.scope, aud: introspection.aud });
});
console.log(JSON.stringify({ issuer, api: await listen(api) }));
process.stdin.on('end', () => process.exit(0)).resume();
