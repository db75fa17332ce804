import { createContext, useContext, type ReactNode } from "react";

import { Pending } from "./errors";
import { graphql } from "./gql";
import type { MeFragment } from "./gql/graphql";
import { Page, signIn } from "./route";

export const Me = graphql(`
  fragment Me on Viewer {
    email
    user { id ...PersonName }
    friendRequests(first: 50) { totalCount nodes { id createdAt who: requester { id ...PersonName } } }
    sentFriendRequests(first: 50) { nodes { id createdAt who: addressee { id ...PersonName } } }
  }
`);

export type Viewer = MeFragment;

/** Who is signed in: null when nobody is, undefined while that is not known. */
export const ViewerContext = createContext<Viewer | null | undefined>(undefined);

export const useViewer = () => useContext(ViewerContext);

/** A page of one's own; who is signed out is asked to sign in, and comes back to it. */
export function SignedIn(props: { title: string; children: ReactNode }) {
  const viewer = useViewer();
  if (viewer === undefined) return <Pending title={props.title} />;
  if (viewer) return props.children;
  return (
    <Page title={props.title}>
      <div className="card">
        <p>This page is for people who are signed in.</p>
        <a className="button" href={signIn()}>
          Sign in
        </a>
      </div>
    </Page>
  );
}
