// An OpenID provider on loopback that speaks as Auth0 does, and a second port to control it by.
//
//   node provider.mjs http://127.0.0.1:8000
//
// The argument is the origin of the application whose people sign in here. It prints one line of
// JSON, {"issuer", "control"}, and ends when its standard input does.

import { createServer } from 'node:http';

import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const application = process.argv[2];
const EMAIL_CLAIM = 'https://community-gql/email';

const people = new Map(); // sub -> { email, verified, permissions, claim, opaque }
const stored = new Map(); // what oidc-provider keeps: grants, codes, sessions
const counts = { jwks: 0, userinfo: 0 };
const modes = { jwks: 'ok', userinfo: 'ok' };
let keys = [];
let published = [];
let provider;
let issuer;

class Store {
  constructor(name) { this.name = name; }
  key(id) { return `${this.name}:${id}`; }
  async upsert(id, payload) { stored.set(this.key(id), payload); }
  async find(id) { return stored.get(this.key(id)); }
  async findByUid(uid) {
    return [...stored].find(([key, item]) => key.startsWith(`${this.name}:`) && item.uid === uid)?.[1];
  }
  async consume(id) { stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { stored.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const [key, item] of stored) if (item.grantId === grantId) stored.delete(key);
  }
}

async function newKey() {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
  const kid = Math.random().toString(36).slice(2);
  return { ...(await jose.exportJWK(privateKey)), kid, use: 'sig', alg: 'RS256' };
}

const publicPart = ({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg });

function resource(audience) {
  return {
    scope: 'manage:tags',
    audience,
    accessTokenTTL: 3600,
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'RS256' } },
  };
}

function makeProvider() {
  provider = new Provider(issuer, {
    adapter: Store,
    jwks: { keys },
    cookies: { keys: ['of the tests alone'] },
    clients: [
      {
        client_id: 'application',
        client_secret: 'secret of the application',
        redirect_uris: [`${application}/auth/callback`],
        post_logout_redirect_uris: [`${application}/`],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
      {
        client_id: 'matcher',
        client_secret: 'secret of the matcher',
        redirect_uris: [],
        response_types: [],
        grant_types: ['client_credentials'],
      },
    ],
    pkce: { required: () => true },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false, // as Auth0: the ID token has the claims of the scopes
    extraParams: ['audience'],
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => ctx.oidc.params?.audience ?? ctx.oidc.body?.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, audience) => resource(audience),
      },
    },
    formats: { customizers: { jwt: (_, token, jwt) => asAuth0(token, jwt) } },
    async findAccount(_, sub) {
      const person = people.get(sub) ?? {};
      return {
        accountId: sub,
        claims: async () => ({ sub, email: person.email, email_verified: person.verified ?? true }),
      };
    },
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid email');
      grant.addResourceScope(ctx.oidc.params.audience, 'manage:tags');
      await grant.save();
      return grant;
    },
  });
}

function asAuth0(token, jwt) {
  const { payload } = jwt;
  if (token.kind === 'ClientCredentials') {
    payload.sub = `${token.clientId}@clients`;
    payload.gty = 'client-credentials';
    payload.permissions = people.get(payload.sub)?.permissions ?? [];
  } else {
    const person = people.get(token.accountId) ?? {};
    payload.aud = [payload.aud, `${issuer}/userinfo`];
    payload.permissions = person.permissions ?? [];
    if (person.claim !== false && person.email) payload[EMAIL_CLAIM] = person.email;
  }
  payload.azp = payload.client_id;
  delete payload.client_id;
}

async function mint({ sub, audience, seconds = 3600 }) {
  const token = new provider.AccessToken({
    accountId: sub,
    client: await provider.Client.find('application'),
    scope: 'openid email',
    expiresIn: seconds,
    gty: 'authorization_code',
  });
  token.resourceServer = new provider.ResourceServer(audience, resource(audience));
  return token.save();
}

const answer = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
};

function inMode(mode, response, usual) {
  if (mode === 'hang') return;
  if (mode === 'fail') answer(response, 500, { error: 'server_error' });
  else if (mode === 'garbage') answer(response, 200, '<html>Sorry!</html>');
  else if (mode === 'empty') answer(response, 200, { keys: [] });
  else if (mode === 'slow') setTimeout(usual, 1500);
  else usual();
}

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === '/jwks') {
    counts.jwks += 1;
    inMode(modes.jwks, response, () => answer(response, 200, { keys: published.map(publicPart) }));
  } else if (pathname === '/me') {
    counts.userinfo += 1;
    inMode(modes.userinfo, response, () => userinfo(request, response));
  } else {
    provider.callback()(request, response);
  }
});

// oidc-provider refuses tokens for an API here; Auth0 takes them.
async function userinfo(request, response) {
  try {
    const token = request.headers.authorization.replace(/^Bearer /, '');
    const set = jose.createLocalJWKSet({ keys: published.map(publicPart) });
    const { payload } = await jose.jwtVerify(token, set, { issuer });
    const person = people.get(payload.sub) ?? {};
    answer(response, 200, {
      sub: payload.sub, email: person.email, email_verified: person.verified ?? true,
    });
  } catch {
    answer(response, 401, { error: 'invalid_token' });
  }
}

const control = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const given = text ? JSON.parse(text) : {};
  const commands = {
    '/person': () => { people.set(given.sub, given); },
    '/mint': async () => ({ token: await mint(given) }),
    '/modes': () => { Object.assign(modes, given); },
    '/counts': () => counts,
    '/kids': () => published.map(({ kid }) => kid),
    '/rotate': async () => {
      keys = [await newKey(), ...keys];
      published = given.remove ? [keys[0]] : [...keys];
      makeProvider();
    },
    '/remove': () => { published = [keys[0]]; },
  };
  try {
    answer(response, 200, (await commands[request.url]()) ?? {});
  } catch (error) {
    answer(response, 500, { error: String(error) });
  }
});

const listening = (which) => new Promise((resolve) => {
  which.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${which.address().port}`));
});

issuer = await listening(server);
keys = [await newKey()];
published = [...keys];
makeProvider();
console.log(JSON.stringify({ issuer, control: await listening(control) }));
process.stdin.resume().on('end', () => process.exit(0)).on('error', () => process.exit(0));
