import { useState } from "react";
import { useMutation } from "urql";

import { Failure, refusals } from "./errors";
import { Field, Form, text } from "./Form";
import { graphql } from "./gql";
import type { StoryVisibility } from "./gql/graphql";
import { go } from "./route";

const CreateStory = graphql(`
  mutation CreateStory($input: CreateStoryInput!) {
    createStory(input: $input) {
      story {
        id
        author {
          id
        }
      }
      userErrors {
        ...Refusal
      }
    }
  }
`);

const FIELDS = ["title", "content", "tags", "visibility"];

export function NewStory() {
  const [{ data, fetching, error }, create] = useMutation(CreateStory);
  // One for the story, however often it is sent: a lost answer makes no second one.
  const [idempotencyKey] = useState(() => crypto.randomUUID());
  const said = refusals(data?.createStory?.userErrors ?? [], FIELDS);

  const submit = async (form: FormData) => {
    const tags = text(form, "tags").split(",").map((name) => name.trim());
    const done = await create({
      input: {
        title: text(form, "title"),
        content: text(form, "content"),
        visibility: text(form, "visibility") as StoryVisibility,
        tags: tags.filter((name) => name !== ""),
        idempotencyKey,
      },
    });
    if (done.data?.createStory?.story) go("/");
  };

  return (
    <main>
      <h1>Write a story</h1>
      {error && <Failure error={error} />}
      <Form label="Publish" busy={fetching} problems={said.rest} submit={submit}>
        <Field
          label="Title"
          errors={said.field("title")}
          control={(given) => <input name="title" autoComplete="off" {...given} />}
        />
        <Field
          label="Text"
          errors={said.field("content")}
          control={(given) => <textarea name="content" rows={8} {...given} />}
        />
        <Field
          label="Tags"
          hint="Separated by commas, such as growth, rest."
          errors={said.field("tags")}
          control={(given) => <input name="tags" autoComplete="off" {...given} />}
        />
        <Field
          label="Who may read it"
          errors={said.field("visibility")}
          control={(given) => (
            <select name="visibility" defaultValue="PUBLIC" {...given}>
              <option value="PUBLIC">Everyone</option>
              <option value="FRIENDS">My friends</option>
              <option value="PRIVATE">Only me</option>
            </select>
          )}
        />
      </Form>
    </main>
  );
}
