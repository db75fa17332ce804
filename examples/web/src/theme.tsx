/** The system's theme, until another one is chosen here. index.html sets that before the first paint. */
export function ThemeSwitch() {
  const change = () => {
    const { dataset } = document.documentElement;
    const system = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const theme = (dataset["theme"] || system) === "dark" ? "light" : "dark";
    dataset["theme"] = theme;
    localStorage.setItem("theme", theme);
  };
  return (
    <button type="button" className="plain theme" aria-label="Light or dark" onClick={change}>
      <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
        <circle cx="12" cy="12" r="9" />
        <path d="M12 3a9 9 0 010 18z" className="full" />
      </svg>
      <span>Light or dark</span>
    </button>
  );
}
