import type { CSSProperties } from "react";
import { useQuery } from "urql";

import { Failure } from "./errors";
import { text } from "./Form";
import { graphql, readFragment, type FragmentType } from "./gql";
import { go, Link, Page, person, useAddress } from "./route";

export const PersonName = graphql(`fragment PersonName on User { id profile { displayName } }`);

type Person = FragmentType<typeof PersonName>;

export const nameOf = (who: Person) => readFragment(PersonName, who).profile?.displayName ?? "Someone";

/** Their first letter, in a colour of their own. */
export function Avatar({ who, large = false }: { who: Person; large?: boolean }) {
  const { id } = readFragment(PersonName, who);
  const hue = [...id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
  const style: CSSProperties & { "--hue": number } = { "--hue": hue };
  return (
    <span className={large ? "avatar large" : "avatar"} style={style} aria-hidden="true">
      {[...nameOf(who)][0]?.toUpperCase()}
    </span>
  );
}

export function PersonLink({ who }: { who: Person }) {
  const { id } = readFragment(PersonName, who);
  return (
    <Link to={person(id)} className="who">
      <Avatar who={who} />
      <span>{nameOf(who)}</span>
    </Link>
  );
}

const PeopleQuery = graphql(`
  query People($filter: UserFilter!) {
    users(filter: $filter, first: 100, orderBy: NAME) { totalCount nodes { id ...PersonName } }
  }
`);

export function People() {
  const search = useAddress().searchParams.get("search") ?? "";
  const variables = { filter: { search } };
  const [{ data, error }] = useQuery({ query: PeopleQuery, variables });
  const find = (form: FormData) => go(`/people?search=${encodeURIComponent(text(form, "search"))}`);
  return (
    <Page title="People">
      <Search key={search} label="Find people" what={search} find={find} />
      <Failure error={error} />
      {data?.users.totalCount === 0 && <p className="empty">Nobody has a name like this.</p>}
      <ul className="people">
        {data?.users.nodes.map((who) => (
          <li key={who.id} className="card">
            <PersonLink who={who} />
          </li>
        ))}
      </ul>
    </Page>
  );
}

export function Search(props: { label: string; what: string; find: (form: FormData) => void }) {
  return (
    <form
      className="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        props.find(new FormData(event.currentTarget));
      }}
    >
      <input
        type="search"
        name="search"
        aria-label={props.label}
        placeholder={props.label}
        defaultValue={props.what}
        maxLength={500}
      />
      <button>Find</button>
    </form>
  );
}
