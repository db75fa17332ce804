import { useState } from "react";
import { useMutation, useQuery } from "urql";

import { Failure, Pending, refusals } from "./errors";
import { Choices, Field, Form, text } from "./Form";
import { graphql, readFragment } from "./gql";
import type { MyProfileFragment, UpdateProfileInput } from "./gql/graphql";
import { go, Link, Page, person } from "./route";
import { TagPicker } from "./TagPicker";

const MyProfile = graphql(`
  fragment MyProfile on User {
    id
    profile { displayName bio journalingFrequency updatedAt }
    tags { id name }
  }
`);

const ProfileQuery = graphql(`query Profile { viewer { user { ...MyProfile } } }`);

// The three run in order, each committed on its own: when one is refused, the others are kept.
const SaveProfile = graphql(`
  mutation SaveProfile($profile: UpdateProfileInput!, $remove: [String!]!, $add: [String!]!) {
    updateProfile(input: $profile) { userErrors { ...Refusal } }
    removeTags(input: {names: $remove}) { userErrors { ...Refusal } }
    addTags(input: {names: $add}) {
      userErrors { ...Refusal }
      query { viewer { user { ...MyProfile } } }
    }
  }
`);

const FIELDS = ["displayName", "bio", "journalingFrequency"];

type Values = {
  displayName: string | null;
  bio: string | null;
  journalingFrequency: number | null;
};

const valuesOf = ({ profile }: MyProfileFragment): Values => ({
  displayName: profile?.displayName ?? null,
  bio: profile?.bio ?? null,
  journalingFrequency: profile?.journalingFrequency ?? null,
});

export function Profile() {
  const [{ data, error }, again] = useQuery({ query: ProfileQuery });
  const user = readFragment(MyProfile, data?.viewer?.user);
  return user ? <Edit user={user} /> : <Pending title="Your profile" error={error} again={again} />;
}

const LABELS = { displayName: "Name", bio: "About you", journalingFrequency: "Days a week" };
const show = ({ displayName, bio, journalingFrequency }: Values) => ({
  displayName: displayName ?? "",
  bio: bio ?? "",
  journalingFrequency: String(journalingFrequency ?? ""),
});

function Edit({ user }: { user: MyProfileFragment }) {
  // What the form was filled from: the server refuses a change of something newer.
  const [base] = useState(user);
  const [names, setNames] = useState(() => user.tags.map(({ name }) => name));
  const [added, setAdded] = useState<readonly string[]>([]);
  const [mine, setMine] = useState<Values | null>(null);
  const [{ data, fetching, error }, save] = useMutation(SaveProfile);
  const said = refusals(data?.updateProfile, FIELDS);
  const tags = [...refusals(data?.removeTags).rest, ...refusals(data?.addTags, [], added).rest];

  const send = async (values: Values, since: MyProfileFragment) => {
    const before = since.tags.map(({ name }) => name);
    const add = names.filter((name) => !before.includes(name));
    const remove = before.filter((name) => !names.includes(name));
    setAdded(add);
    const profile: UpdateProfileInput = { ...values };
    if (since.profile) profile.expectedUpdatedAt = since.profile.updatedAt;
    const done = (await save({ profile, remove, add })).data;
    if (!done) return;
    const payloads = [done.updateProfile, done.removeTags, done.addTags];
    if (refusals(done.updateProfile).conflict) setMine(values);
    else if (payloads.every((payload) => payload?.userErrors.length === 0)) go(person(user.id));
  };
  const submit = (form: FormData) => {
    const days = text(form, "journalingFrequency");
    const values = {
      displayName: text(form, "displayName") || null,
      bio: text(form, "bio") || null,
      journalingFrequency: days === "" ? null : Number(days),
    };
    void send(values, base);
  };
  if (mine) {
    return (
      <Page title="Your profile">
        <Failure error={error} />
        <Choices
          key={user.profile?.updatedAt}
          labels={LABELS}
          mine={mine}
          theirs={valuesOf(user)}
          show={show}
          problems={[...FIELDS.flatMap(said.field), ...said.rest, ...tags]}
          busy={fetching}
          save={(version) => void send(version, user)}
        />
      </Page>
    );
  }
  return (
    <Page title="Your profile">
      <Failure error={error} />
      <Form
        label="Save"
        busy={fetching}
        problems={said.rest}
        submit={submit}
        beside={<Link to={person(user.id)}>Cancel</Link>}
      >
        <Field
          label="Name"
          hint="What others call you."
          name="displayName"
          value={base.profile?.displayName}
          errors={said.field("displayName")}
        />
        <Field
          label="About you"
          errors={said.field("bio")}
          control={(given) => <textarea {...given} name="bio" rows={4} defaultValue={base.profile?.bio ?? ""} />}
        />
        <Field
          label="Days a week"
          hint="How often you plan to write. Optional."
          errors={said.field("journalingFrequency")}
          control={(given) => (
            <select {...given} name="journalingFrequency" defaultValue={base.profile?.journalingFrequency ?? ""}>
              <option value="">I do not say</option>
              {[0, 1, 2, 3, 4, 5, 6, 7].map((number) => (
                <option key={number}>{number}</option>
              ))}
            </select>
          )}
        />
        <Field
          label="Tags"
          hint="What you care about. Your matches depend on it."
          errors={tags}
          control={(given) => <TagPicker names={names} change={setNames} given={given} />}
        />
      </Form>
    </Page>
  );
}
