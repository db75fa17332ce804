import { useState } from "react";
import { useMutation, useQuery, useSubscription } from "urql";

import { Failure, Outcome, Pending, refusals } from "./errors";
import { Button, Field, Form, Options, text } from "./Form";
import { graphql, readFragment } from "./gql";
import type { HabitFrequency } from "./gql/graphql";
import { Page } from "./route";

const MyHabits = graphql(`
  fragment MyHabits on Viewer {
    user { id habits(first: 100, orderBy: NAME) { nodes { id name frequency } } }
  }
`);

const HabitsQuery = graphql(`query Habits { viewer { ...MyHabits } }`);
const FollowHabits = graphql(`subscription FollowHabits { viewer { ...MyHabits } }`);

const CreateHabit = graphql(`
  mutation CreateHabit($input: CreateHabitInput!) {
    createHabit(input: $input) {
      habit { id }
      userErrors { ...Refusal }
      query { viewer { ...MyHabits } }
    }
  }
`);

const DeleteHabit = graphql(`
  mutation DeleteHabit($input: DeleteHabitInput!) {
    deleteHabit(input: $input) { userErrors { ...Refusal } query { viewer { ...MyHabits } } }
  }
`);

const OFTEN: Record<HabitFrequency, string> = {
  DAILY: "Every day",
  WEEKLY: "Every week",
  MONTHLY: "Every month",
  CUSTOM: "Now and then",
};

export function Habits() {
  const [{ data, error }, again] = useQuery({ query: HabitsQuery });
  useSubscription({ query: FollowHabits });
  const [creation, create] = useMutation(CreateHabit);
  const [deletion, remove] = useMutation(DeleteHabit);
  const [added, setAdded] = useState(0);
  const said = refusals(creation.data?.createHabit, ["name", "frequency"]);
  const add = async (form: FormData) => {
    const frequency = text(form, "frequency") as HabitFrequency;
    const done = await create({ input: { name: text(form, "name"), frequency } });
    if (done.data?.createHabit?.habit) setAdded(added + 1);
  };
  const take = async (id: string) => {
    await remove({ input: { id } });
    document.querySelector("h1")?.focus(); // the button that had the focus is gone
  };
  const habits = readFragment(MyHabits, data?.viewer)?.user.habits.nodes;
  if (!habits) return <Pending title="Habits" error={error} again={again} />;
  return (
    <Page title="Habits">
      <Failure error={creation.error} />
      <Outcome of={[deletion]} />
      {habits.length === 0 && <p className="empty">No habits yet. Only you will see them.</p>}
      <ul className="people">
        {habits.map(({ id, name, frequency }) => (
          <li key={id} className="card row">
            <span className="grow">{name}</span>
            <span className="badge">{OFTEN[frequency]}</span>
            <Button label="Remove" look="plain danger" name={`Remove ${name}`} act={() => void take(id)} />
          </li>
        ))}
      </ul>
      <h2>A new habit</h2>
      <Form key={added} label="Add" busy={creation.fetching} problems={said.rest} submit={add}>
        <Field label="What" name="name" errors={said.field("name")} />
        <Field
          label="How often"
          errors={said.field("frequency")}
          control={(given) => (
            <select name="frequency" {...given}>
              <Options of={OFTEN} />
            </select>
          )}
        />
      </Form>
    </Page>
  );
}
