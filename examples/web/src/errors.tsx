import type { CombinedError } from "urql";

import { graphql, readFragment, type FragmentType } from "./gql";

/** What every mutation answers beside its result: all that is wrong with the input. */
export const Refusal = graphql(`
  fragment Refusal on UserError {
    code
    path
    message
  }
`);

export type Refusals = { field: (name: string) => string[]; rest: string[] };

/** The messages by field: the first name in `path`. What names none of `fields` is the rest. */
export function refusals(
  errors: readonly FragmentType<typeof Refusal>[],
  fields: readonly string[],
): Refusals {
  const found = readFragment(Refusal, errors);
  const at = (name: string | undefined) => name !== undefined && fields.includes(name);
  return {
    field: (name) => found.filter(({ path }) => path[0] === name).map(({ message }) => message),
    rest: found.filter(({ path }) => !at(path[0])).map(({ message }) => message),
  };
}

/** What went wrong on the way: nothing that a form can mend. */
export function Failure({ error }: { error: CombinedError }) {
  const codes = error.graphQLErrors.map(({ extensions }) => extensions["code"]);
  if (codes.includes("UNAUTHENTICATED")) {
    return (
      <p role="alert" className="failure">
        You are signed out. <SignIn />
      </p>
    );
  }
  const wait = (error.response as Response | undefined)?.headers.get("Retry-After");
  const said = error.graphQLErrors[0]?.message ?? "The server does not answer.";
  return (
    <p role="alert" className="failure">
      {said} {wait && `Try again in ${wait} s.`}
    </p>
  );
}

export function SignIn() {
  const here = window.location.pathname;
  return <a href={`/auth/login?next=${encodeURIComponent(here)}`}>Sign in</a>;
}
