import { useId, type ReactNode, type SubmitEvent } from "react";

/** A label, a control, and what is wrong with its value: read out, and tied to the control. */
export function Field(props: {
  label: string;
  hint?: string;
  errors: readonly string[];
  control: (given: { id: string; "aria-invalid": boolean; "aria-describedby": string }) => ReactNode;
}) {
  const id = useId();
  const given = {
    id,
    "aria-invalid": props.errors.length > 0,
    "aria-describedby": `${id}-hint ${id}-errors`,
  };
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      {props.control(given)}
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
  children: ReactNode;
}) {
  const send = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    props.submit(new FormData(event.currentTarget));
  };
  return (
    <form className="card" onSubmit={send} noValidate>
      {props.children}
      <p className="refusal" role="alert">
        {props.problems.join(" ")}
      </p>
      <button disabled={props.busy}>{props.label}</button>
    </form>
  );
}

export const text = (form: FormData, name: string) => String(form.get(name) ?? "");
