-- What PostGraphile needs beyond the migrations: a role for its visitors, and the rule of
-- visibility as policies. Superusers, whom the other systems connect as, pass by policies.
-- May be run again.
DO $$ BEGIN CREATE ROLE benchmark_visitor NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE benchmark_postgraphile LOGIN NOINHERIT; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT benchmark_visitor TO benchmark_postgraphile;
GRANT USAGE ON SCHEMA public TO benchmark_visitor;
GRANT SELECT ON users, user_profiles, user_tags, tags, stories, story_tags, gardens, match_results
  TO benchmark_visitor;

-- The viewer and their friends, in functions that each statement calls once: the policies wrap
-- them in subselects. The friends are read with the owner's rights, or friendships would need
-- policies of their own.
CREATE OR REPLACE FUNCTION public.current_viewer() RETURNS varchar
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT nullif(current_setting('jwt.claims.sub', true), '')
$$;
COMMENT ON FUNCTION public.current_viewer IS '@behavior -*';
CREATE OR REPLACE FUNCTION public.friends_of_viewer() RETURNS varchar[]
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT ARRAY(
    SELECT addressee_id FROM friendships
      WHERE requester_id = current_viewer() AND status = 'accepted'
    UNION ALL
    SELECT requester_id FROM friendships
      WHERE addressee_id = current_viewer() AND status = 'accepted'
  )
$$;
COMMENT ON FUNCTION public.friends_of_viewer IS '@behavior -*';

ALTER TABLE stories ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS visible ON stories;
CREATE POLICY visible ON stories FOR SELECT TO benchmark_visitor USING (
  visibility = 'public'
  OR user_id = (SELECT current_viewer())
  OR visibility = 'friends' AND user_id = ANY ((SELECT friends_of_viewer())::varchar[])
);
ALTER TABLE match_results ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS visible ON match_results;
CREATE POLICY visible ON match_results FOR SELECT TO benchmark_visitor USING (
  user_id = (SELECT current_viewer())
);

-- The field `viewer`, and the matches of the newest batch, the best first.
CREATE OR REPLACE FUNCTION public.viewer() RETURNS users
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM users WHERE auth0_sub = current_viewer()
$$;
CREATE OR REPLACE FUNCTION public.users_newest_matches(person users) RETURNS SETOF match_results
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM match_results m
  WHERE m.user_id = person.auth0_sub
    AND m.created_at = (
      SELECT max(created_at) FROM match_results WHERE user_id = person.auth0_sub
    )
  ORDER BY m.score DESC, m.id DESC
$$;
