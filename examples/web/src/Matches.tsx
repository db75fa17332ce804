import { useMutation, useQuery, useSubscription } from "urql";

import { Outcome, Pending } from "./errors";
import { Button } from "./Form";
import { graphql, readFragment } from "./gql";
import type { MatchCardFragment, MatchingState, MyMatchesFragment } from "./gql/graphql";
import { nameOf, PersonLink } from "./People";
import { Link, Page } from "./route";

const MatchCard = graphql(`
  fragment MatchCard on Match {
    id score
    user { id ...PersonName profile { bio } }
    reasons { tags { id name } themes { id name } habits { id name } journaling }
  }
`);

const MyMatches = graphql(`
  fragment MyMatches on Viewer {
    matching { wanted habits state }
    notInterested(first: 50, orderBy: NAME) { nodes { id ...PersonName } }
    user { id matches(first: 20) { nodes { id ...MatchCard } } }
  }
`);

const MatchesQuery = graphql(`query Matches { viewer { ...MyMatches } }`);

// A new list is shown as soon as it has been computed.
const FollowMatches = graphql(`subscription FollowMatches { viewer { ...MyMatches } }`);

const UpdateMatching = graphql(`
  mutation UpdateMatching($input: UpdateMatchingInput!) {
    updateMatching(input: $input) { userErrors { ...Refusal } viewer { ...MyMatches } }
  }
`);

const DismissMatch = graphql(`
  mutation DismissMatch($input: DismissMatchInput!) {
    dismissMatch(input: $input) { userErrors { ...Refusal } query { viewer { ...MyMatches } } }
  }
`);

const RestoreMatch = graphql(`
  mutation RestoreMatch($input: RestoreMatchInput!) {
    restoreMatch(input: $input) { userErrors { ...Refusal } query { viewer { ...MyMatches } } }
  }
`);

const TITLE = "People who suit you";

export function Matches() {
  const [{ data, error }, again] = useQuery({ query: MatchesQuery });
  useSubscription({ query: FollowMatches });
  const [dismissal, dismiss] = useMutation(DismissMatch);
  const [restoration, restore] = useMutation(RestoreMatch);
  const [choice, choose] = useMutation(UpdateMatching);
  const mine = readFragment(MyMatches, data?.viewer);
  if (!mine) return <Pending title={TITLE} error={error} again={again} />;
  return (
    <Page title={TITLE}>
      <Outcome of={[dismissal, restoration, choice]} />
      <p role="status" className="quiet">
        <State state={mine.matching.state} count={mine.user.matches.nodes.length} />
      </p>
      <ol className="people">
        {readFragment(MatchCard, mine.user.matches.nodes).map((match) => (
          <li key={match.id}>
            <Card match={match} dismiss={() => void dismiss({ input: { userId: match.user.id } })} />
          </li>
        ))}
      </ol>
      {mine.notInterested.nodes.length > 0 && (
        <section aria-labelledby="dismissed">
          <h2 id="dismissed">Not interested</h2>
          <p className="quiet">They are not told. Whom you let come back may be in your next list.</p>
          <ul className="people">
            {mine.notInterested.nodes.map((who) => (
              <li key={who.id} className="card row">
                <PersonLink who={who} />
                <Button
                  label="Let come back"
                  name={`Let ${nameOf(who)} come back`}
                  act={() => void restore({ input: { userId: who.id } })}
                />
              </li>
            ))}
          </ul>
        </section>
      )}
      <Settings matching={mine.matching} choose={(input) => void choose({ input })} />
    </Page>
  );
}

function State({ state, count }: { state: MatchingState; count: number }) {
  if (state === "OFF") return "You have left matching: you see nobody here, and nobody sees you.";
  if (state === "NOTHING_TO_GO_BY") {
    return (
      <>
        There is nothing to go by yet. <Link to="/profile">Choose some tags</Link> or{" "}
        <Link to="/write">write a story</Link> for everyone.
      </>
    );
  }
  if (state === "WAITING") return "A new list is being made. It will appear here by itself.";
  if (count === 0) return "Nobody suits you well enough at this time.";
  return "By what you have in common. Nobody else sees this list.";
}

function Card({ match, dismiss }: { match: MatchCardFragment; dismiss: () => void }) {
  const { user, score } = match;
  return (
    <article className="card match" aria-label={nameOf(user)}>
      <div className="row">
        <PersonLink who={user} />
        <span className="grow" />
        <meter min={0} max={1} value={score} aria-label="How well you suit each other" />
        <span className="quiet">{Math.round(score * 100)} %</span>
      </div>
      {user.profile?.bio && <p className="bio">{user.profile.bio}</p>}
      <Reasons {...match.reasons} />
      <Button label="Not interested" name={`Not interested in ${nameOf(user)}`} act={dismiss} />
    </article>
  );
}

function Reasons({ tags, themes, habits, journaling }: MatchCardFragment["reasons"]) {
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).join(", ");
  const rows = [
    ["You both chose", names(tags)],
    ["You both care about", names(themes)],
    ["You both keep up", names(habits)],
    ["You both write", journaling === null ? "" : journaling === 1 ? "one day a week" : `${journaling} days a week`],
  ].filter(([, what]) => what !== "");
  if (rows.length === 0) return null;
  return (
    <dl className="reasons">
      {rows.map(([label, what]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{what}</dd>
        </div>
      ))}
    </dl>
  );
}

const SWITCHES = [
  {
    what: "wanted",
    label: "Show me to people who suit me, and show them to me",
    hint: "If you switch this off, you leave all lists at once.",
  },
  { what: "habits", label: "Let my habits count", hint: "Only among people who want that too." },
] as const;

type Matching = MyMatchesFragment["matching"];

function Settings(props: {
  matching: Matching;
  choose: (choice: Partial<Record<"wanted" | "habits", boolean>>) => void;
}) {
  const { matching, choose } = props;
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">What you want</h2>
      <div className="card">
        {SWITCHES.map(({ what, label, hint }) => (
          <label key={what} className="switch">
            <input
              type="checkbox"
              role="switch"
              checked={matching[what]}
              onChange={() => choose({ [what]: !matching[what] })}
            />
            <span>
              {label} <span className="quiet">{hint}</span>
            </span>
          </label>
        ))}
      </div>
    </section>
  );
}
