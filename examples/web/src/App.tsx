import { useQuery } from "urql";

import { Failure, SignIn } from "./errors";
import { Feed } from "./Feed";
import { graphql } from "./gql";
import { NewGarden } from "./NewGarden";
import { NewStory } from "./NewStory";
import { Person } from "./Person";
import { Link, person, usePath } from "./route";

const ViewerQuery = graphql(`
  query Viewer {
    viewer {
      email
      user {
        id
        profile {
          displayName
        }
      }
    }
  }
`);

export function App() {
  const [{ data, error }] = useQuery({ query: ViewerQuery });
  const viewer = data?.viewer;
  return (
    <>
      <header>
        <nav aria-label="Pages">
          <Link to="/">Stories</Link>
          {viewer && (
            <>
              <Link to="/write">Write</Link>
              <Link to="/garden">Garden</Link>
              <Link to={person(viewer.user.id)}>
                {viewer.user.profile?.displayName ?? viewer.email}
              </Link>
              <a href="/auth/logout">Sign out</a>
            </>
          )}
          {viewer === null && <SignIn />}
        </nav>
        {error && <Failure error={error} />}
      </header>
      <Page />
    </>
  );
}

function Page() {
  const path = usePath();
  const [, id] = /^\/people\/(.+)$/.exec(path) ?? [];
  if (id) return <Person key={id} id={decodeURIComponent(id)} />;
  if (path === "/write") return <NewStory />;
  if (path === "/garden") return <NewGarden />;
  return <Feed />;
}
