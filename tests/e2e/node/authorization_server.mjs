// oidc-provider, a certified authorization server, and an API that takes its tokens: opaque ones are introspected
// (RFC 7662), JWTs are verified (RFC 9068).
// Reads a line of JSON: {"server": PEM of a certificate and its key, "ca": PEM, "jwks": {client_id: a public JWK}}.
// Prints one line of JSON with the origins. GET /stats on the API tells how many token requests and calls there were;
// /refresh_token there makes the client "refresh" a refresh token, as a login would; /end_access_tokens ends all that are out.
// Ends when its standard input does, so it cannot outlive the test that started it.
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';

// oidc-provider 9 wants node 22, of which it uses this one function that node 20 lacks.
URL.parse ??= (url, base) => { try { return new URL(url, base); } catch { return null; } };
const { Provider } = await import('oidc-provider');
const { EmbeddedJWK, calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } = await import('jose');
const { createHash } = await import('node:crypto');

const lines = createInterface({ input: process.stdin });
const { server: pem, ca, jwks } = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));

const listen = (server, scheme = 'http') => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(`${scheme}://127.0.0.1:${server.address().port}`));
});
const stats = { token_requests: 0, calls: 0, refused: 0 };

// oidc-provider's own memory adapter forgets tokens after about a thousand.
const store = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  find = async (id) => store.get(this.key(id));
  findBy = async (name, value) => [...store].find(([key, payload]) => key.startsWith(`${this.model}:`) && payload[name] === value)?.[1];
  findByUid = (uid) => this.findBy('uid', uid);
  findByUserCode = (code) => this.findBy('userCode', code);
  async upsert(id, payload) { store.set(this.key(id), payload); }
  async destroy(id) { store.delete(this.key(id)); }
  async consume(id) { store.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async revokeByGrantId(id) { for (const [key, payload] of store) if (payload.grantId === id) store.delete(key); }
}

const strange = 'p@ss:w%rd +&=/"~';
const secret = 'canary-secret-of-at-least-32-characters';
const client = (client_id, token_endpoint_auth_method, more = {}) => ({
  client_id, token_endpoint_auth_method, grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
  scope: 'read write', ...(/secret/.test(token_endpoint_auth_method) && { client_secret: secret }), ...more,
});
const person = { response_types: ['code'], redirect_uris: ['http://127.0.0.1/callback'], scope: 'openid offline_access read' };
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];

let handleOp;
const op = (request, response) => {
  if (request.method === 'POST' && request.url === '/token') stats.token_requests += 1;
  handleOp(request, response);
};
const issuer = await listen(createServer(op));
const tls = createTlsServer({ key: pem, cert: pem, ca, requestCert: true, rejectUnauthorized: false }, op);
const tlsIssuer = await listen(tls, 'https');
const provider = new Provider(issuer, {
  adapter: Adapter,
  clients: [
    client('post', 'client_secret_post'),
    client('basic', 'client_secret_basic'),
    client(strange, 'client_secret_basic', { client_secret: strange }),
    client(`post ${strange}`, 'client_secret_post', { client_secret: strange }),
    client('secret-jwt', 'client_secret_jwt'),
    ...algorithms.map((alg) => client(alg, 'private_key_jwt', { jwks: { keys: [jwks[alg]] } })),
    client('tls', 'tls_client_auth', { tls_client_auth_subject_dn: 'CN=tls' }),
    client('self-signed', 'self_signed_tls_client_auth', { jwks: { keys: [jwks['self-signed']] } }),
    client('bound', 'self_signed_tls_client_auth', {
      jwks: { keys: [jwks['self-signed']] }, tls_client_certificate_bound_access_tokens: true,
    }),
    client('refresh', 'client_secret_basic', { ...person, grant_types: ['authorization_code', 'refresh_token'] }),
    ...['native', 'short'].map((id) => client(id, 'none', {
      ...person, application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    })),
    client('dpop', 'client_secret_post', { dpop_bound_access_tokens: true }),
    client('dpop-native', 'none', {
      ...person, application_type: 'native', dpop_bound_access_tokens: true,
      grant_types: ['authorization_code', 'refresh_token'],
    }),
    client('api', 'client_secret_basic', { grant_types: [], scope: undefined }),
  ],
  scopes: ['openid', 'offline_access', 'read', 'write'],
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'self_signed_tls_client_auth'],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', ...algorithms], dPoPSigningAlgValues: ['ES256', 'EdDSA', 'RS256'] },
  cookies: { keys: ['test'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: {
    AccessToken: (ctx, token, owner) => (owner.clientId === 'short' ? 2 : 300),
    ClientCredentials: 300, RefreshToken: 3600, Grant: 3600, DeviceCode: 120, Interaction: 600, Session: 600, IdToken: 300,
  },
  discovery: { mtls_endpoint_aliases: { token_endpoint: `${tlsIssuer}/token` } },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => true },
    introspection: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) => ctx.socket.getPeerX509Certificate().subject === expected,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'read', audience: resource, accessTokenFormat: resource.startsWith('urn:jwt') ? 'jwt' : 'opaque',
      }),
    },
  },
});
handleOp = provider.callback();

async function refreshToken() {
  const grant = new provider.Grant({ accountId: 'alice', clientId: 'refresh' });
  grant.addOIDCScope('openid offline_access read');
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId: 'alice', client: await provider.Client.find('refresh'), grantId, gty: 'authorization_code',
    scope: 'openid offline_access read', rotations: 0, iiat: Math.floor(Date.now() / 1000),
  });
  return token.save();
}

const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
async function claims(token) {
  if (token.split('.').length === 3) {
    const { payload } = await jwtVerify(token, keys, { issuer, audience: 'urn:jwt', typ: 'at+jwt' });
    if (payload.cnf) throw new Error('no client certificate was shown');
    return payload;
  }
  const introspection = await (await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`api:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ token }),
  })).json();
  return introspection.active ? introspection : undefined;
}

// RFC 9449 section 4.3. Each nonce serves three calls; a proof serves one.
const seen = new Set();
let proven = 0;
const nonce = () => `nonce-${Math.floor(proven / 3)}`;
async function verified(request, token, known) {
  const { payload, protectedHeader } = await jwtVerify(request.headers.dpop ?? '', EmbeddedJWK, { typ: 'dpop+jwt' });
  const is = {
    htm: payload.htm === request.method,
    htu: payload.htu === `http://${request.headers.host}${request.url.split('?')[0]}`,
    iat: Math.abs(payload.iat - Date.now() / 1000) < 30,
    ath: payload.ath === createHash('sha256').update(token).digest('base64url'),
    jkt: known.cnf?.jkt === await calculateJwkThumbprint(protectedHeader.jwk),
    jti: !seen.has(payload.jti),
  };
  seen.add(payload.jti);
  const wrong = Object.keys(is).filter((name) => !is[name]);
  if (wrong.length) throw new Error(`wrong ${wrong.join(' ')}`);
  if (payload.nonce !== nonce()) return false;
  proven += 1;
  return true;
}

const api = createServer(async (request, response) => {
  const answer = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(`${JSON.stringify(body)}\n`);
  };
  if (request.url === '/stats') return answer(200, stats);
  if (request.url === '/refresh_token') return answer(200, { refresh_token: await refreshToken() });
  if (request.url === '/end_access_tokens') {
    const ended = [...store.keys()].filter((key) => key.startsWith('AccessToken:'));
    for (const key of ended) store.delete(key);
    return answer(200, { ended: ended.length });
  }
  stats.calls += 1;
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  let why = '';
  const known = token && await claims(token).catch((error) => { why = error.message; });
  const bound = /^DPoP (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (bound) {
    const headers = (error) => ({ 'www-authenticate': `DPoP error="${error}"`, 'dpop-nonce': nonce() });
    try {
      const owner = await claims(bound);
      if (!owner) return answer(401, {}, headers('invalid_token'));
      if (!await verified(request, bound, owner)) return answer(401, {}, headers('use_dpop_nonce'));
      return answer(200, { client_id: owner.client_id, method: request.method, http: request.httpVersion });
    } catch (error) {
      stats.refused += 1;
      return answer(401, { why: error.message }, headers('invalid_dpop_proof'));
    }
  }
  if (!known) {
    stats.refused += 1;
    const description = why && `, error_description="${why.replaceAll('"', "'")}"`;
    return answer(401, { error: 'invalid_token' }, { 'www-authenticate': `Bearer error="invalid_token"${description}` });
  }
  return answer(200, { path: request.url, client_id: known.client_id, scope: known.scope, aud: known.aud, jwt: token.split('.').length === 3 });
});
console.log(JSON.stringify({ issuer, tls: tlsIssuer, api: await listen(api) }));
lines.on('close', () => process.exit(0));
