import { useState } from "react";
import { useMutation, useQuery, useSubscription } from "urql";

import { Failure, Outcome, Pending, refusals } from "./errors";
import { Button, Confirm, Field, Form, text } from "./Form";
import { graphql, readFragment } from "./gql";
import type { MyGardenFragment } from "./gql/graphql";
import { Page } from "./route";
import { Day } from "./Stories";

const MyGarden = graphql(`fragment MyGarden on Viewer { user { id garden { id name theme createdAt } } }`);
const GardenQuery = graphql(`query Garden { viewer { ...MyGarden } }`);
const FollowGarden = graphql(`subscription FollowGarden { viewer { ...MyGarden } }`);

// `query` reads what changed beside the garden: the cache then knows whose it is.
const CreateGarden = graphql(`
  mutation CreateGarden($input: CreateGardenInput!) {
    createGarden(input: $input) { userErrors { ...Refusal } query { viewer { ...MyGarden } } }
  }
`);

const UpdateGarden = graphql(`
  mutation UpdateGarden($input: UpdateGardenInput!) {
    updateGarden(input: $input) { garden { id name theme } userErrors { ...Refusal } }
  }
`);

const DeleteGarden = graphql(`
  mutation DeleteGarden($input: DeleteGardenInput!) {
    deleteGarden(input: $input) { userErrors { ...Refusal } query { viewer { ...MyGarden } } }
  }
`);

const FIELDS = ["name", "theme"];

export function Garden() {
  const [{ data, error }, again] = useQuery({ query: GardenQuery });
  useSubscription({ query: FollowGarden });
  const [isOpen, setOpen] = useState(false);
  const garden = readFragment(MyGarden, data?.viewer)?.user.garden;
  if (garden === undefined) return <Pending title="Garden" error={error} again={again} />;
  if (garden === null) {
    return (
      <Page title="Plant a garden">
        <Tend garden={null} close={() => setOpen(false)} />
      </Page>
    );
  }
  const change = <Button label="Change" look="" act={() => setOpen(true)} />;
  return (
    <Page title={garden.name} aside={!isOpen && change}>
      {isOpen ? (
        <Tend garden={garden} close={() => setOpen(false)} />
      ) : (
        <section className="card" aria-label="Your garden">
          <Picture />
          <p>
            {garden.theme ? `Theme: ${garden.theme}.` : "No theme."} Planted on <Day at={garden.createdAt} />.
            Everyone who looks at your page sees it.
          </p>
        </section>
      )}
    </Page>
  );
}

const LEAVES =
  "M60 72V40m0 14q-16-2-18-16 16 2 18 16m0-6q16-2 18-16-16 2-18 16M160 64V22m0 20q-20-2-23-20 " +
  "20 2 23 20m0-8q20-2 23-20-20 2-23 20M256 62V36m0 12q-14-2-16-14 14 2 16 14m0-4q14-2 16-14-14 2-16 14";

const Picture = () => (
  <svg viewBox="0 0 320 90" className="picture" aria-hidden="true">
    <path d="M0 90V70q80-30 160-8t160-6v34z" className="hill" />
    <path d={LEAVES} />
  </svg>
);

type Planted = NonNullable<MyGardenFragment["user"]["garden"]>;

function Tend({ garden, close }: { garden: Planted | null; close: () => void }) {
  const [creation, create] = useMutation(CreateGarden);
  const [change, update] = useMutation(UpdateGarden);
  const [deletion, remove] = useMutation(DeleteGarden);
  const said = refusals(change.data?.updateGarden ?? creation.data?.createGarden, FIELDS);

  const submit = async (form: FormData) => {
    // Null clears the theme; the name cannot be cleared.
    const values = { name: text(form, "name"), theme: text(form, "theme") || null };
    if (!garden) void create({ input: values });
    else if ((await update({ input: { id: garden.id, ...values } })).data?.updateGarden?.garden) close();
  };
  const give = () => garden && void remove({ input: { id: garden.id } }).then(close);
  const beside = garden && (
    <>
      <Button label="Cancel" act={close} />
      <Confirm label="Give up" question="Give it up?" busy={deletion.fetching} sure={give} />
    </>
  );
  return (
    <>
      <Failure error={creation.error ?? change.error} />
      <Outcome of={[deletion]} />
      <Form
        label={garden ? "Save" : "Plant"}
        busy={creation.fetching || change.fetching}
        problems={said.rest}
        submit={submit}
        beside={beside}
      >
        <Field
          label="Name"
          hint="Everyone has one garden."
          name="name"
          value={garden?.name}
          errors={said.field("name")}
        />
        <Field
          label="Theme"
          hint="Such as zen or wild. Optional."
          name="theme"
          value={garden?.theme}
          errors={said.field("theme")}
        />
      </Form>
    </>
  );
}
