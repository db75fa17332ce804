import { Answer } from "./Friendship";
import { nameOf, PersonLink } from "./People";
import { Link, Page } from "./route";
import { Day } from "./Stories";
import { useViewer, type Viewer } from "./viewer";

type Request = Viewer["sentFriendRequests"]["nodes"][number];

/** Who asked the viewer, and whom the viewer asked; kept up to date by App's subscription. */
export function Requests() {
  const viewer = useViewer();
  const [received, sent] = [viewer?.friendRequests.nodes ?? [], viewer?.sentFriendRequests.nodes ?? []];
  return (
    <Page title="Requests">
      {received.length === 0 && (
        <p className="empty">
          Nobody is waiting for an answer. <Link to="/matches">See who suits you</Link>
        </p>
      )}
      <List requests={received} />
      {sent.length > 0 && <h2>You have asked</h2>}
      <List requests={sent} isOwn />
    </Page>
  );
}

const List = ({ requests, isOwn = false }: { requests: readonly Request[]; isOwn?: boolean }) => (
  <ul className="people">
    {requests.map(({ id, createdAt, who }) => (
      <li key={id} className="card row">
        <PersonLink who={who} />
        <span className="quiet grow">
          asked on <Day at={createdAt} />
        </span>
        <Answer request={id} person={who.id} name={nameOf(who)} isOwn={isOwn} />
      </li>
    ))}
  </ul>
);
