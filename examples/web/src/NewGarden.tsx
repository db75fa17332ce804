import { useMutation } from "urql";

import { Failure, refusals } from "./errors";
import { Field, Form, text } from "./Form";
import { graphql } from "./gql";

// `query` reads what changed beside the garden: the cache then knows whose it is.
const CreateGarden = graphql(`
  mutation CreateGarden($input: CreateGardenInput!) {
    createGarden(input: $input) {
      garden {
        id
        name
        theme
      }
      userErrors {
        ...Refusal
      }
      query {
        viewer {
          user {
            id
            garden {
              id
            }
          }
        }
      }
    }
  }
`);

const FIELDS = ["name", "theme"];

export function NewGarden() {
  const [{ data, fetching, error }, create] = useMutation(CreateGarden);
  const said = refusals(data?.createGarden?.userErrors ?? [], FIELDS);
  const garden = data?.createGarden?.garden;

  const submit = (form: FormData) =>
    create({ input: { name: text(form, "name"), theme: text(form, "theme") || null } });

  return (
    <main>
      <h1>Plant a garden</h1>
      {error && <Failure error={error} />}
      {garden && (
        <p role="status" className="done">
          {garden.name} is planted.
        </p>
      )}
      <Form label="Plant" busy={fetching} problems={said.rest} submit={submit}>
        <Field
          label="Name"
          hint="Everyone has one garden."
          errors={said.field("name")}
          control={(given) => <input name="name" autoComplete="off" {...given} />}
        />
        <Field
          label="Theme"
          hint="Such as zen or wild; may be empty."
          errors={said.field("theme")}
          control={(given) => <input name="theme" autoComplete="off" {...given} />}
        />
      </Form>
    </main>
  );
}
