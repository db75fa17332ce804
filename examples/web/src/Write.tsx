import { useState, type ReactNode } from "react";
import { useMutation } from "urql";

import { Failure, refusals, type Refusals } from "./errors";
import { Field, Form, Options } from "./Form";
import { graphql } from "./gql";
import type { StoryVisibility } from "./gql/graphql";
import { go, Page, story as at } from "./route";
import { SEEN_BY } from "./Stories";
import { TagPicker } from "./TagPicker";

const CreateStory = graphql(`
  mutation CreateStory($input: CreateStoryInput!) {
    createStory(input: $input) { story { id ...StoryCard } userErrors { ...Refusal } }
  }
`);

export type Draft = {
  title: string;
  content: string;
  tags: readonly string[];
  visibility: StoryVisibility;
};

export const FIELDS = ["title", "content", "tags", "visibility"];
const EMPTY: Draft = { title: "", content: "", tags: [], visibility: "PUBLIC" };

/** The form of a story, new or old. */
export function StoryForm(props: {
  label: string;
  draft: Draft;
  change: (draft: Draft) => void;
  said: Refusals;
  busy: boolean;
  submit: () => void;
  beside?: ReactNode;
}) {
  const { draft, said } = props;
  const set = (part: Partial<Draft>) => props.change({ ...draft, ...part });
  return (
    <Form label={props.label} busy={props.busy} problems={said.rest} submit={props.submit} beside={props.beside}>
      <Field
        label="Title"
        errors={said.field("title")}
        control={(given) => <input {...given} value={draft.title} onChange={(e) => set({ title: e.target.value })} />}
      />
      <Field
        label="Text"
        hint="*emphasis*, **strong**, - list, > quotation, [link](https://…)"
        errors={said.field("content")}
        control={(given) => (
          <textarea {...given} rows={10} value={draft.content} onChange={(e) => set({ content: e.target.value })} />
        )}
      />
      <Field
        label="Tags"
        hint="Type one and press Enter. It must be a tag that exists."
        errors={said.field("tags")}
        control={(given) => <TagPicker names={draft.tags} change={(tags) => set({ tags })} given={given} />}
      />
      <Field
        label="Who may read it"
        errors={said.field("visibility")}
        control={(given) => (
          <select
            {...given}
            value={draft.visibility}
            onChange={(e) => set({ visibility: e.target.value as StoryVisibility })}
          >
            <Options of={SEEN_BY} />
          </select>
        )}
      />
    </Form>
  );
}

export function NewStory() {
  const [{ data, fetching, error }, create] = useMutation(CreateStory);
  const [draft, setDraft] = useState(EMPTY);
  // One for the story, however often it is sent: a lost answer makes no second one.
  const [idempotencyKey] = useState(() => crypto.randomUUID());
  const [sent, setSent] = useState<readonly string[]>([]);
  const submit = async () => {
    setSent(draft.tags);
    const done = await create({ input: { ...draft, tags: [...draft.tags], idempotencyKey } });
    const story = done.data?.createStory?.story;
    if (story) go(at(story.id));
  };
  return (
    <Page title="Write a story">
      <Failure error={error} />
      <StoryForm
        label="Publish"
        draft={draft}
        change={setDraft}
        said={refusals(data?.createStory, FIELDS, sent)}
        busy={fetching}
        submit={submit}
      />
    </Page>
  );
}
