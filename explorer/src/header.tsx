import type { ReactNode } from 'react';
import leaf from './leaf.svg';

const PAGES = [
  { page: 'explorer', address: '/', title: 'Explorer' },
  { page: 'schema', address: '/schema', title: 'Schema map' },
];

/** The bar above both pages: what this is, the other page, and what `children` add. */
export function Header({ page, children }: { page: string; children?: ReactNode }) {
  return (
    <header className="bar">
      <a className="brand" href="/">
        <img src={leaf} alt="" width="24" height="24" />
        <h1>community-gql</h1>
      </a>
      <nav aria-label="Pages">
        {PAGES.map((each) => (
          <a
            key={each.page}
            href={each.address}
            aria-current={each.page === page ? 'page' : undefined}
          >
            {each.title}
          </a>
        ))}
      </nav>
      <div className="bar-end">{children}</div>
    </header>
  );
}
