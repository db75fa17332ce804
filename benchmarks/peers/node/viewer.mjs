// Who asks: the `sub` of the verified bearer token, null without one. A token that was found good
// is remembered until it ends, as this project does.
import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = process.env.OIDC_ISSUER;
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const expected = { issuer, audience: process.env.AUTH0_AUDIENCE, algorithms: ["RS256"] };
const REMEMBERED = 5000;
const good = new Map();

export async function viewerOf(header) {
  if (header === undefined) return null;
  const token = header.slice("Bearer ".length);
  const known = good.get(token);
  if (known !== undefined && known.exp * 1000 > Date.now()) return known.sub;
  const { payload } = await jwtVerify(token, keys, expected);
  if (good.size >= REMEMBERED) good.delete(good.keys().next().value);
  good.set(token, payload);
  return payload.sub;
}
