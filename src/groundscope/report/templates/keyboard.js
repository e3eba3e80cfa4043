// Keys for readers who use no mouse: / finds a word, j and k go from section to section, t changes the theme.
(() => {
  "use strict";
  const sections = [...document.querySelectorAll("main > section")];
  const here = () => Math.max(0, sections.findLastIndex((one) => one.getBoundingClientRect().top < 80));
  const go = (to) => {
    const section = sections[Math.min(sections.length - 1, Math.max(0, to))];
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
    section.scrollIntoView({ block: "start" });
  };
  const keys = {
    "/": () => document.getElementById("words-search")?.focus(),
    j: () => go(here() + 1),
    k: () => go(here() - 1),
    t: () => document.getElementById("theme").click(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
})();
