import { useMutation } from "urql";

import { Outcome } from "./errors";
import { Button, Confirm } from "./Form";
import { graphql, readFragment, type FragmentType } from "./gql";
import { nameOf } from "./People";
import { signIn } from "./route";
import { useViewer } from "./viewer";

export const Bond = graphql(`
  fragment Bond on User { id ...PersonName viewerFriendship { id status requester { id } } }
`);

// Each reads, after the change, all that hangs on it: the person, and the viewer's requests.
const Ask = graphql(`
  mutation Ask($input: RequestFriendshipInput!, $person: ID!) {
    requestFriendship(input: $input) { userErrors { ...Refusal } query { ...AfterFriendship } }
  }
`);

const Accept = graphql(`
  mutation Accept($input: AcceptFriendshipInput!, $person: ID!) {
    acceptFriendship(input: $input) { userErrors { ...Refusal } query { ...AfterFriendship } }
  }
`);

const End = graphql(`
  mutation End($input: EndFriendshipInput!, $person: ID!) {
    endFriendship(input: $input) { userErrors { ...Refusal } query { ...AfterFriendship } }
  }
`);

export const AfterFriendship = graphql(`
  fragment AfterFriendship on Query { user(id: $person) { ...Bond } viewer { ...Me } }
`);

/** What there is between the viewer and a person, and what can be done about it. */
export function Friendship({ with: other }: { with: FragmentType<typeof Bond> }) {
  const { id: person, viewerFriendship: bond, ...who } = readFragment(Bond, other);
  const viewer = useViewer();
  const [asked, ask] = useMutation(Ask);
  const [ended, end] = useMutation(End);
  if (viewer === null) {
    return (
      <p className="friendship">
        <a href={signIn()}>Sign in</a> to become friends.
      </p>
    );
  }
  if (!viewer || viewer.user.id === person) return null;
  const stop = () => void end({ input: { id: bond?.id ?? "" }, person });
  const busy = asked.fetching || ended.fetching;
  const they = nameOf(who);
  const isOwn = bond?.requester.id !== person;
  return (
    <div className="friendship">
      <div className="row">
        {!bond && (
          <Button
            label="Ask to be friends"
            look=""
            busy={busy}
            act={() => void ask({ input: { userId: person }, person })}
          />
        )}
        {bond?.status === "ACCEPTED" && (
          <>
            <span className="badge">You are friends</span>
            <Confirm label="End friendship" question="End it?" busy={busy} sure={stop} />
          </>
        )}
        {bond?.status === "PENDING" && (
          <>
            {isOwn && <span className="badge">You have asked to be friends</span>}
            {!isOwn && <span>{they} would like to be your friend.</span>}
            <Answer request={bond.id} person={person} name={they} isOwn={isOwn} />
          </>
        )}
      </div>
      <Outcome of={[asked, ended]} />
    </div>
  );
}

/** The two answers to a request; one's own can be taken back. */
export function Answer(props: { request: string; person: string; name: string; isOwn: boolean }) {
  const [accepted, accept] = useMutation(Accept);
  const [ended, end] = useMutation(End);
  const variables = { input: { id: props.request }, person: props.person };
  const busy = accepted.fetching || ended.fetching;
  const no = props.isOwn ? "Withdraw" : "Decline";
  return (
    <div className="row">
      {!props.isOwn && (
        <Button label="Accept" look="" busy={busy} name={`Accept ${props.name}`} act={() => void accept(variables)} />
      )}
      <Button label={no} busy={busy} name={`${no} ${props.name}`} act={() => void end(variables)} />
      <Outcome of={[accepted, ended]} />
    </div>
  );
}
