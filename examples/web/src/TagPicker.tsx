import { useDeferredValue, useId, useState, type KeyboardEvent } from "react";
import { useQuery } from "urql";

import type { Given } from "./Form";
import { graphql } from "./gql";

const SuggestQuery = graphql(`
  query SuggestTags($prefix: String!) {
    tags(first: 8, filter: {prefix: $prefix}, orderBy: POPULARITY) { nodes { id name } }
  }
`);

type Props = {
  names: readonly string[];
  change: (names: string[]) => void;
  given: Given;
};

/** Tags to choose: typed, with suggestions, each a button that takes it away again. */
export function TagPicker({ names, change, given }: Props) {
  const [typed, setTyped] = useState("");
  const list = useId();
  const prefix = useDeferredValue(typed);
  const [{ data }] = useQuery({ query: SuggestQuery, variables: { prefix } });

  const add = (text: string) => {
    const wanted = text.split(",").map((name) => name.trim().toLowerCase());
    change([...new Set([...names, ...wanted.filter((name) => name !== "")])]);
    setTyped("");
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter" && typed.trim() !== "") {
      event.preventDefault();
      add(typed);
    }
    if (event.key === "Backspace" && typed === "") change(names.slice(0, -1));
  };
  return (
    <div className="picker">
      {names.map((name) => (
        <button
          key={name}
          type="button"
          className="tag"
          aria-label={`Remove ${name}`}
          onClick={() => change(names.filter((other) => other !== name))}
        >
          {name} <span aria-hidden="true">×</span>
        </button>
      ))}
      <input
        {...given}
        list={list}
        value={typed}
        autoComplete="off"
        onKeyDown={press}
        onBlur={() => typed.trim() !== "" && add(typed)}
        onChange={({ target: { value } }) => (value.includes(",") ? add(value) : setTyped(value))}
      />
      <datalist id={list}>
        {data?.tags.nodes.map(({ id, name }) => (
          <option key={id} value={name} />
        ))}
      </datalist>
    </div>
  );
}
