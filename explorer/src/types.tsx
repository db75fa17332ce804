import {
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type GraphQLType,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  isScalarType,
} from 'graphql';
import { useState } from 'react';
import { Icon } from './icons';

interface TypesProps {
  schema: GraphQLSchema;
  chosen: string;
  choose: (name: string) => void;
}

/** Every type of the schema to choose from, and what the chosen one says of itself. */
export function Types({ schema, chosen, choose }: TypesProps) {
  const [search, setSearch] = useState('');
  const type = schema.getType(chosen);
  const names = Object.keys(schema.getTypeMap())
    .filter((name) => !name.startsWith('__'))
    .filter((name) => name.toLowerCase().includes(search.trim().toLowerCase()))
    .sort();
  return (
    <aside className="types" aria-label="Types">
      {type ? (
        <>
          <button type="button" className="back" onClick={() => choose('')}>
            <Icon name="back" /> All types
          </button>
          <Details type={type} choose={choose} />
        </>
      ) : (
        <>
          <input
            type="search"
            placeholder="Search types"
            aria-label="Search types"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
          {KINDS.map((kind) => ({ kind, found: names.filter((name) => kindOf(schema, name) === kind) }))
            .filter(({ found }) => found.length > 0)
            .map(({ kind, found }) => (
              <section key={kind}>
                <h2>{kind}</h2>
                <ul className="names">
                  {found.map((name) => (
                    <li key={name}>
                      <button type="button" onClick={() => choose(name)}>
                        {name}
                      </button>
                    </li>
                  ))}
                </ul>
              </section>
            ))}
          {names.length === 0 && <p>No type is called that.</p>}
        </>
      )}
    </aside>
  );
}

const KINDS = ['Roots', 'Types', 'Pages and payloads', 'Inputs', 'Enums', 'Scalars'] as const;

function kindOf(schema: GraphQLSchema, name: string): (typeof KINDS)[number] {
  const type = schema.getType(name);
  if (type === schema.getQueryType() || type === schema.getMutationType()) return 'Roots';
  if (type && type === schema.getSubscriptionType()) return 'Roots';
  if (isInputObjectType(type)) return 'Inputs';
  if (isEnumType(type)) return 'Enums';
  if (isScalarType(type)) return 'Scalars';
  return /(Connection|Edge|Payload|PageInfo)$/.test(name) ? 'Pages and payloads' : 'Types';
}

interface DetailsProps {
  type: GraphQLNamedType;
  choose: (name: string) => void;
}

function Details({ type, choose }: DetailsProps) {
  const hasFields = isObjectType(type) || isInterfaceType(type) || isInputObjectType(type);
  const fields: Field[] = hasFields ? Object.values(type.getFields()) : [];
  return (
    <>
      <h2>{type.name}</h2>
      <p>{type.description}</p>
      <dl>
        {fields.map((field) => (
          <Member key={field.name} field={field} choose={choose} />
        ))}
        {isEnumType(type) &&
          type.getValues().map((value) => (
            <div key={value.name}>
              <dt>{value.name}</dt>
              <dd>{value.description}</dd>
            </div>
          ))}
      </dl>
    </>
  );
}

type Field = GraphQLField<unknown, unknown> | GraphQLInputField;

function Member({ field, choose }: { field: Field; choose: (name: string) => void }) {
  const given = 'args' in field ? field.args : [];
  return (
    <div>
      <dt>
        {field.name}: <Leads type={field.type} choose={choose} />
      </dt>
      <dd>
        {field.description}
        {given.length > 0 && (
          <ul className="arguments">
            {given.map((argument) => (
              <li key={argument.name}>
                {argument.name}: <Leads type={argument.type} choose={choose} />
              </li>
            ))}
          </ul>
        )}
      </dd>
    </div>
  );
}

function Leads({ type, choose }: { type: GraphQLType; choose: (name: string) => void }) {
  return (
    <button type="button" className="leads" onClick={() => choose(getNamedType(type).name)}>
      {type.toString()}
    </button>
  );
}
