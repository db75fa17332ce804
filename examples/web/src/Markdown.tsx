import DOMPurify from "dompurify";
import { Marked } from "marked";
import { useMemo } from "react";

// What people wrote is theirs, not ours: of the HTML that Markdown makes, only these stay. There are no
// images, because loading one would tell somebody else's server who reads the story.
const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a blockquote br code del em hr li ol p pre strong".split(" "),
    ..."h2 h3 h4 h5 h6 table tbody td th thead tr ul".split(" "),
  ],
  ALLOWED_ATTR: ["align", "href", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName === "A") element.setAttribute("rel", "nofollow noopener ugc");
});

/** All headings are at `level`, below those of the page: a text may skip levels, a page must not. */
function marked(level: number): Marked {
  return new Marked({
    renderer: { image: ({ text }) => text },
    walkTokens(token) {
      if (token.type === "heading") token["depth"] = level;
    },
  });
}

const AT = { 2: marked(2), 3: marked(3) };

export function Markdown({ children, level }: { children: string; level: keyof typeof AT }) {
  const html = useMemo(
    () => DOMPurify.sanitize(AT[level].parse(children, { async: false }), ALLOWED),
    [children, level],
  );
  return <div className="markdown" dangerouslySetInnerHTML={{ __html: html }} />;
}
