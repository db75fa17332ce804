import { Answer } from "./Friendship";
import { nameOf, PersonLink } from "./People";
import { Link, Page } from "./route";
import { Day } from "./Stories";
import { useViewer } from "./viewer";

/** Who would like to be the viewer's friend; kept up to date by App's subscription. */
export function Requests() {
  const requests = useViewer()?.friendRequests.nodes ?? [];
  return (
    <Page title="Requests">
      {requests.length === 0 && (
        <p className="empty">
          Nobody is waiting for an answer. <Link to="/matches">See who suits you</Link>
        </p>
      )}
      <ul className="people">
        {requests.map(({ id, createdAt, requester }) => (
          <li key={id} className="card row">
            <PersonLink who={requester} />
            <span className="quiet grow">
              asked on <Day at={createdAt} />
            </span>
            <Answer request={id} person={requester.id} name={nameOf(requester)} />
          </li>
        ))}
      </ul>
    </Page>
  );
}
