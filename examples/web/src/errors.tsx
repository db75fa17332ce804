import type { CombinedError } from "urql";

import { Button } from "./Form";
import { graphql, readFragment, type FragmentType } from "./gql";
import type { UserErrorCode } from "./gql/graphql";
import { Page, signIn } from "./route";

/** What every mutation answers beside its result: all that is wrong with the input. */
export const Refusal = graphql(`fragment Refusal on UserError { code path }`);

// The server's own messages name its fields. People read these; a code that is missing here is a
// fault of the types.
const REFUSED: Record<UserErrorCode, string> = {
  CONFLICT: "It was changed in the meantime.",
  FORBIDDEN: "Only the person it belongs to can change it.",
  GARDEN_ALREADY_EXISTS: "You have a garden already.",
  HABIT_ALREADY_EXISTS: "You have a habit of this name already.",
  INVALID: "This cannot be used. Please check it.",
  NOT_FOUND: "It is not there any more.",
  REQUIRED: "Please fill this in.",
  TAG_ALREADY_EXISTS: "This tag exists already.",
  TAG_NOT_FOUND: "There is no such tag.",
  TAG_TOO_POPULAR: "This tag is used too often to be changed here.",
  TOO_LONG: "This is too long.",
  TOO_MANY: "These are too many.",
};

const FAILED: Record<string, string> = {
  RATE_LIMITED: "That was a lot at once. Please wait a little.",
  UNAVAILABLE: "The server is busy. Please try again.",
};

export type Refusals = { field: (name: string) => string[]; rest: string[]; conflict: boolean };
type Refused = { userErrors: readonly FragmentType<typeof Refusal>[] } | null | undefined;
type Change = { data?: Record<string, Refused> | undefined; error?: CombinedError | undefined };

/**
 * The messages by field: the first name in `path`. What names none of `fields` is the rest.
 * `names` are those that a number in the path counts, such as tags.
 */
export function refusals(refused: Refused, fields: readonly string[] = [], names: readonly string[] = []): Refusals {
  const found = readFragment(Refusal, refused?.userErrors ?? []);
  const say = ({ code, path: [, place] }: { code: UserErrorCode; path: string[] }) => {
    const name = place === undefined ? undefined : names[Number(place)];
    // The server may be newer than these types.
    const said: string | undefined = REFUSED[code];
    return `${name === undefined ? "" : `“${name}”: `}${said ?? "This was refused."}`;
  };
  const others = found.filter(({ code }) => code !== "CONFLICT");
  return {
    field: (name) => others.filter(({ path }) => path[0] === name).map(say),
    rest: others.filter(({ path: [first] }) => !fields.includes(first ?? "")).map(say),
    conflict: others.length < found.length,
  };
}

/** What went wrong on the way: nothing that a form can mend. */
export function Failure({ error, again }: { error?: CombinedError | undefined; again?: () => void }) {
  if (!error) return null;
  const codes = error.graphQLErrors.map(({ extensions }) => String(extensions["code"]));
  if (codes.includes("UNAUTHENTICATED")) {
    return (
      <p role="alert" className="failure">
        You are signed out. <a href={signIn()}>Sign in</a>
      </p>
    );
  }
  const wait = (error.response as Response | undefined)?.headers.get("Retry-After");
  const said = codes.map((code) => FAILED[code] ?? "Something went wrong on our side.")[0];
  return (
    <p role="alert" className="failure">
      {said ?? "The server cannot be reached."} {wait && `Try again in ${wait} s.`}{" "}
      {again && <Button label="Try again" act={again} />}
    </p>
  );
}

/** What became of changes that have no form: nothing to say unless one failed. */
export function Outcome({ of }: { of: readonly Change[] }) {
  const refused = of.flatMap(({ data }) => Object.values(data ?? {}).flatMap((p) => refusals(p).rest));
  return (
    <>
      <p className="refusal" role="alert">
        {refused.join(" ")}
      </p>
      <Failure error={of.find(({ error }) => error)?.error} />
    </>
  );
}

/** A page whose data is not there: not yet, or because something went wrong. */
export function Pending(props: { title: string; error?: CombinedError | undefined; again?: () => void }) {
  return (
    <Page title={props.title}>
      {props.error ? (
        <Failure {...props} />
      ) : (
        <p className="quiet" role="status">
          Loading…
        </p>
      )}
    </Page>
  );
}
