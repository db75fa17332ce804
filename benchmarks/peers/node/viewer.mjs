// Who asks: the `sub` of the verified bearer token, null without one. The signature is verified
// for every request, as this project does.
import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = process.env.OIDC_ISSUER;
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`));
const expected = { issuer, audience: process.env.AUTH0_AUDIENCE, algorithms: ["RS256"] };

export async function viewerOf(header) {
  if (header === undefined) return null;
  const { payload } = await jwtVerify(header.slice("Bearer ".length), keys, expected);
  return payload.sub;
}
