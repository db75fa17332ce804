import { useState } from "react";
import { useMutation, useQuery, useSubscription } from "urql";

import { Failure, Outcome, Pending, refusals } from "./errors";
import { Button, Choices, Confirm } from "./Form";
import { graphql, readFragment } from "./gql";
import type { UpdateStoryInput, WholeStoryFragment } from "./gql/graphql";
import { Markdown } from "./Markdown";
import { PersonLink } from "./People";
import { go, Link, NotFound, Page, story as at } from "./route";
import { Day, SEEN_BY, Tags } from "./Stories";
import { FIELDS, StoryForm, type Draft } from "./Write";

const WholeStory = graphql(`
  fragment WholeStory on Story {
    id title content visibility tagNames createdAt updatedAt viewerCanEdit
    author { id ...PersonName }
  }
`);

const StoryQuery = graphql(`query Story($id: ID!) { story(id: $id) { ...WholeStory } }`);

const FollowStory = graphql(`
  subscription FollowStory($id: ID!) { node(id: $id) { __typename ... on Story { ...WholeStory } } }
`);

const UpdateStory = graphql(`
  mutation UpdateStory($input: UpdateStoryInput!, $id: ID!) {
    updateStory(input: $input) {
      story { ...WholeStory }
      userErrors { ...Refusal }
      query { story(id: $id) { ...WholeStory } }
    }
  }
`);

const DeleteStory = graphql(`
  mutation DeleteStory($input: DeleteStoryInput!) {
    deleteStory(input: $input) { deletedId userErrors { ...Refusal } }
  }
`);

/** The story as it is, also when it is changed in another window; null when it is gone. */
function useStory(id: string) {
  const [{ data, error }, again] = useQuery({ query: StoryQuery, variables: { id } });
  const [live] = useSubscription({ query: FollowStory, variables: { id } });
  const isGone = live.data !== undefined && live.data.node === null;
  const story = isGone ? null : data && readFragment(WholeStory, data.story);
  return { story, error, again };
}

export function Story({ id }: { id: string }) {
  const { story, error, again } = useStory(id);
  if (story === undefined) return <Pending title="Story" error={error} again={again} />;
  if (story === null) return <NotFound what="story" />;
  const edit = story.viewerCanEdit && (
    <Link to={`${at(id)}/edit`} className="button">
      Edit
    </Link>
  );
  return (
    <Page title={story.title} aside={edit}>
      <article className="card story" aria-label={story.title}>
        <div className="byline">
          <PersonLink who={story.author} />
          <Day at={story.createdAt} />
          {story.visibility !== "PUBLIC" && <span className="badge">{SEEN_BY[story.visibility]}</span>}
        </div>
        <Markdown level={2}>{story.content}</Markdown>
        <Tags names={story.tagNames} />
      </article>
    </Page>
  );
}

export function EditStory({ id }: { id: string }) {
  const { story, error, again } = useStory(id);
  if (story?.viewerCanEdit) return <Edit story={story} />;
  if (story !== undefined) return <NotFound what="story of yours" />;
  return <Pending title="Edit a story" error={error} again={again} />;
}

const draftOf = ({ tagNames: tags, title, content, visibility }: WholeStoryFragment): Draft => ({
  title,
  content,
  tags,
  visibility,
});

const LABELS = { title: "Title", content: "Text", tags: "Tags", visibility: "Who may read it" };
const show = (draft: Draft) => ({
  ...draft,
  tags: [...draft.tags].sort().join(", "),
  visibility: SEEN_BY[draft.visibility],
});

function Edit({ story }: { story: WholeStoryFragment }) {
  const { id } = story;
  const [draft, setDraft] = useState(() => draftOf(story));
  // What the form was filled from: the server refuses a change of something newer.
  const [base] = useState(story.updatedAt);
  const [isConflict, setConflict] = useState(false);
  const [change, update] = useMutation(UpdateStory);
  const [deletion, remove] = useMutation(DeleteStory);
  const [sent, setSent] = useState<readonly string[]>([]);
  const said = refusals(change.data?.updateStory, FIELDS, sent);

  const save = async (wanted: Draft, expectedUpdatedAt: string) => {
    setSent(wanted.tags);
    const input: UpdateStoryInput = { id, ...wanted, tags: [...wanted.tags], expectedUpdatedAt };
    const saved = (await update({ input, id })).data?.updateStory;
    if (saved?.story) go(at(id));
    else if (refusals(saved).conflict) setConflict(true);
  };
  const del = async () => {
    if ((await remove({ input: { id } })).data?.deleteStory?.deletedId) go("/");
  };

  return (
    <Page title="Edit a story">
      <Failure error={change.error} />
      <Outcome of={[deletion]} />
      {isConflict ? (
        <Choices
          key={story.updatedAt}
          labels={LABELS}
          mine={draft}
          theirs={draftOf(story)}
          show={show}
          problems={[...FIELDS.flatMap(said.field), ...said.rest]}
          busy={change.fetching}
          save={(version) => void save(version, story.updatedAt)}
        />
      ) : (
        <>
          {story.updatedAt !== base && !change.fetching && (
            <p role="status" className="notice row">
              It was changed elsewhere since you opened it here.
              <Button label="Compare" act={() => setConflict(true)} />
            </p>
          )}
          <StoryForm
            label="Save"
            draft={draft}
            change={setDraft}
            said={said}
            busy={change.fetching}
            submit={() => void save(draft, base)}
            beside={
              <>
                <Link to={at(id)}>Cancel</Link>
                <Confirm label="Delete" question="Delete it?" busy={deletion.fetching} sure={del} />
              </>
            }
          />
        </>
      )}
    </Page>
  );
}
