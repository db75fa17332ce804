import { useEffect, useId, useRef, useState, type ReactNode, type SubmitEvent } from "react";

export type Given = {
  id: string;
  name?: string;
  "aria-invalid": boolean;
  "aria-describedby": string;
};

/** A label, a control (a line of text by default), and what is wrong: tied to it and read out. */
export function Field(props: {
  label: string;
  hint?: string;
  name?: string;
  value?: string | null | undefined;
  errors: readonly string[];
  control?: (given: Given) => ReactNode;
}) {
  const id = useId();
  const given = {
    id,
    ...(props.name !== undefined && { name: props.name }),
    "aria-invalid": props.errors.length > 0,
    "aria-describedby": `${id}-hint ${id}-errors`,
  };
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      {props.control?.(given) ?? <input {...given} defaultValue={props.value ?? ""} autoComplete="off" />}
      <span id={`${id}-hint`} className="quiet">
        {props.hint}
      </span>
      <span id={`${id}-errors`} className="refusal" role="alert">
        {props.errors.join(" ")}
      </span>
    </div>
  );
}

export function Form(props: {
  label: string;
  busy: boolean;
  problems: readonly string[];
  submit: (form: FormData) => void;
  beside?: ReactNode;
  children: ReactNode;
}) {
  const send = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!props.busy) props.submit(new FormData(event.currentTarget));
  };
  return (
    <form className="card" onSubmit={send} noValidate>
      {props.children}
      <p className="refusal" role="alert">
        {props.problems.join(" ")}
      </p>
      <div className="row">
        <button aria-disabled={props.busy}>{props.label}</button>
        {props.beside}
      </div>
    </form>
  );
}

/** What a `select` offers, by the words for each. */
export const Options = ({ of }: { of: Record<string, string> }) =>
  Object.entries(of).map(([value, label]) => <option key={value} value={value} label={label} />);

export const text = (form: FormData, name: string) => String(form.get(name) ?? "");

type ButtonProps = { label: string; act: () => void; busy?: boolean; look?: string; name?: string };

/** `name` is what it does in whole words, where what stands on it is less. */
export function Button({ label, act, busy = false, look = "plain", name }: ButtonProps) {
  const press = () => !busy && act();
  return (
    <button type="button" className={look} aria-disabled={busy} aria-label={name} onClick={press}>
      {label}
    </button>
  );
}

/** A button that asks once more before it does what cannot be undone. */
export function Confirm(props: { label: string; question: string; busy: boolean; sure: () => void }) {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return <Button label={props.label} look="plain danger" act={() => setAsked(true)} />;
  }
  return (
    <span className="row" role="group" aria-label={props.question}>
      <span>{props.question}</span>
      <Button label="Yes" look="danger" busy={props.busy} act={props.sure} />
      <button type="button" className="plain" autoFocus onClick={() => setAsked(false)}>
        No
      </button>
    </span>
  );
}

/** Two versions of one thing: for each part that is different, which one is to stay. */
export function Choices<Version extends object>(props: {
  labels: Record<keyof Version & string, string>;
  mine: Version;
  theirs: Version;
  show: (version: Version) => Record<keyof Version, string>;
  problems: readonly string[];
  busy: boolean;
  save: (version: Version) => void;
}) {
  const [mine, theirs] = [props.show(props.mine), props.show(props.theirs)];
  const parts = Object.keys(props.labels) as (keyof Version & string)[];
  const different = parts.filter((part) => mine[part].trim() !== theirs[part].trim());
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const submit = (form: FormData) => {
    const version = { ...props.theirs };
    for (const part of different) if (form.get(part) === "mine") version[part] = props.mine[part];
    props.save(version);
  };
  return (
    <section aria-labelledby="conflict">
      <h2 id="conflict" ref={heading} tabIndex={-1}>
        It was changed in the meantime
      </h2>
      <p>After you opened it here, it was saved somewhere else, perhaps in another window. Choose what to keep.</p>
      <Form label="Save this choice" busy={props.busy} problems={props.problems} submit={submit}>
        {different.map((part) => (
          <fieldset key={part}>
            <legend>{props.labels[part]}</legend>
            {Object.entries({ mine, theirs }).map(([whose, shown]) => (
              <label key={whose} className="version">
                <input type="radio" name={part} value={whose} defaultChecked={whose === "mine"} />
                <span>{whose === "mine" ? "What you wrote here" : "What is there now"}</span>
                <span className="quiet">{shown[part] || "(empty)"}</span>
              </label>
            ))}
          </fieldset>
        ))}
        {different.length === 0 && <p>Both versions are the same by now.</p>}
      </Form>
    </section>
  );
}
