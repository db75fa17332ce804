import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useState } from 'react';
import { useRun } from './runs';

const SEGMENTS = [
  { segment: 'query', title: 'Query' },
  { segment: 'variables', title: 'Variables' },
  { segment: 'answer', title: 'Answer' },
] as const;

type Segment = (typeof SEGMENTS)[number]['segment'];

/** In a narrow window one part at a time, chosen here; the style sheet hides the others. */
export function Segments() {
  const [segment, setSegment] = useState<Segment>('query');
  const isFetching = useGraphiQL((state) => state.isFetching);
  const [ran, setRan] = useState(false); // not yet by somebody's wish: the page opens with an answer
  const tab = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.id ?? '');
  const last = useRun(tab);
  const isFollowing = last === 'following' || last === 'returning';
  const { run, stop } = useGraphiQLActions();
  useEffect(() => {
    if (isFetching && ran) setSegment('answer');
  }, [isFetching, ran]);
  useEffect(() => {
    const pressed = (event: Event) => {
      const target = event.target as Element;
      if (target.closest('.graphiql-execute-button, .segments .run-here')) setRan(true);
      if (target.closest('.graphiql-tab-add')) setSegment('query'); // it has no answer yet
    };
    addEventListener('click', pressed, true);
    return () => removeEventListener('click', pressed, true);
  }, []);
  useEffect(() => {
    document.body.dataset.segment = segment;
    if (segment !== 'variables' || !matchMedia('(max-width: 720px)').matches) return;
    document.querySelector<HTMLElement>('button[aria-label="Show editor tools"]')?.click();
  }, [segment]);
  return (
    <div className="segments">
      <div role="group" aria-label="Part of the page">
        {SEGMENTS.map((each) => (
          <button
            key={each.segment}
            type="button"
            aria-pressed={each.segment === segment}
            onClick={() => setSegment(each.segment)}
          >
            {each.title}
          </button>
        ))}
      </div>
      {segment !== 'query' && (
        <button type="button" className="run-here" onClick={() => (isFollowing ? stop() : void run())}>
          {isFollowing ? 'Stop' : 'Run'}
        </button>
      )}
    </div>
  );
}
