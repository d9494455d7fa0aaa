/* What the theme does not do for a keyboard or a screen reader. Without it the pages still read. */
(() => {
  "use strict";

  /* The other language opens at the same section, and keeps the words searched for. */
  const keepPlace = () => {
    for (const link of document.querySelectorAll(".languages a")) {
      link.search = location.search;
      link.hash = location.hash;
    }
  };
  addEventListener("hashchange", keepPlace);
  keepPlace();

  /* On a small screen the theme opens its two drawers with labels, that only a pointer can press. */
  const makeButtons = (boxId, panelSelector) => {
    const box = document.getElementById(boxId);
    const panel = document.querySelector(panelSelector);
    if (!box || !panel) return;
    panel.id ||= `${boxId}_drawer`;
    panel.tabIndex = -1;
    const buttons = [...document.querySelectorAll(`label[for="${boxId}"]:not(.overlay)`)].map((label) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = label.className;
      button.append(...label.childNodes);
      button.setAttribute("aria-label", box.getAttribute("aria-label"));
      button.setAttribute("aria-controls", panel.id);
      label.replaceWith(button);
      return button;
    });
    const tell = () => buttons.forEach((button) => button.setAttribute("aria-expanded", box.checked));
    const open = (wanted) => {
      box.checked = wanted;
      tell();
      if (wanted) panel.focus({ preventScroll: true });
    };
    const visible = () => buttons.find((button) => button.offsetParent);
    buttons.forEach((button) => button.addEventListener("click", () => open(!box.checked)));
    box.addEventListener("change", tell);
    panel.addEventListener("click", ({ target }) => {
      if (target.closest('a[href^="#"]')) open(false);
    });
    panel.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !panel.contains(relatedTarget)) open(false);
    });
    document.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !box.checked) return;
      open(false);
      visible()?.focus();
    });
    tell();
  };
  makeButtons("__navigation", ".sidebar-drawer");
  makeButtons("__toc", ".toc-drawer");

  document.addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target.matches(".toctree-checkbox")) target.click();
  });

  /* Ctrl K or /, as elsewhere; on a small screen the field is in the drawer. */
  const field = document.querySelector(".sidebar-search");
  field.placeholder += " (Ctrl K)";
  field.setAttribute("aria-keyshortcuts", "Control+K /");
  const asksForSearch = ({ key, ctrlKey, metaKey, altKey, target }) =>
    ctrlKey || metaKey
      ? key.toLowerCase() === "k"
      : key === "/" && !altKey && !target.matches("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (!asksForSearch(event)) return;
    event.preventDefault();
    if (!field.checkVisibility({ visibilityProperty: true }))
      document.querySelector("button.nav-overlay-icon").click();
    field.focus();
    field.select();
  });

  /* What scrolls sideways can be scrolled with the arrow keys. */
  const reachScroll = (box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => reachScroll(target)));
  const wide = document.querySelectorAll("article pre, article .table-wrapper");
  wide.forEach((box) => observer.observe(box));

  /* The code imports from the reader’s own package, once they have named it. */
  const PACKAGE = "share_kernel.package"; // every page, in both languages, finds the name there
  const AS_WRITTEN = "src";
  const KERNEL = /\bsrc([./])share_kernel\b/g;
  const KEYWORDS = new Set(
    ("False None True and as assert async await break class continue def del elif else except finally for from " +
      "global if import in is lambda nonlocal not or pass raise return try while with yield").split(" "),
  );
  const isPackage = (name) =>
    name.split(".").every((part) => /^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(part) && !KEYWORDS.has(part));
  const written = new Map(); // what names the kernel; not the models of pages, which are for this project
  const kernels = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  for (let text = kernels.nextNode(); text; text = kernels.nextNode())
    if (text.data.match(KERNEL) && !text.parentElement.closest(".highlight-markdown")) written.set(text, text.data);
  const importFrom = (name) => {
    const kernel = (_, mark) => `${name.replaceAll(".", mark)}${mark}share_kernel`;
    for (const [text, data] of written) text.data = data.replace(KERNEL, kernel);
    wide.forEach(reachScroll); // a longer line does not resize its box
  };
  const packageField = document.getElementById("package");
  const wrong = document.getElementById("package-wrong");
  const judge = (name) => {
    const isRight = isPackage(name);
    wrong.textContent = isRight ? "" : wrong.dataset.wrong.replace("{name}", () => name);
    packageField.setAttribute("aria-invalid", !isRight);
    return isRight;
  };
  let before; // half of a wrong name may be a right one: it does not stay
  const recall = () => {
    const kept = localStorage.getItem(PACKAGE) ?? AS_WRITTEN;
    before = isPackage(kept) ? kept : AS_WRITTEN;
    importFrom(before);
    if (!packageField) return;
    packageField.value = before === AS_WRITTEN ? "" : before;
    judge(before);
  };
  recall();
  addEventListener("storage", recall);
  addEventListener("pageshow", ({ persisted }) => persisted && recall());
  packageField?.addEventListener("input", () => {
    const typed = packageField.value.trim().normalize("NFKC") || AS_WRITTEN; // Python reads names so
    const name = judge(typed) ? typed : before;
    if (name === AS_WRITTEN) localStorage.removeItem(PACKAGE);
    else localStorage.setItem(PACKAGE, name);
    importFrom(name);
  });
  packageField?.addEventListener("change", () => wrong.textContent || recall());

  /* The words that were searched for are lit where the search led, until Escape. */
  const SEARCHED = "sphinx_highlight_terms"; // written by the search page, that keeps it
  const searched = (localStorage.getItem(SEARCHED) ?? "").split(" ").filter(Boolean);
  if (searched.length && CSS.highlights && typeof Search === "undefined") {
    localStorage.removeItem(SEARCHED);
    const lit = new Highlight();
    const texts = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
    const words = new RegExp(searched.map((word) => word.replace(/\W/g, "\\$&")).join("|"), "gi");
    for (let text = texts.nextNode(); text; text = texts.nextNode())
      for (const { 0: word, index } of text.data.matchAll(words)) {
        const range = new Range();
        range.setStart(text, index);
        range.setEnd(text, index + word.length);
        lit.add(range);
      }
    CSS.highlights.set("searched", lit);
    document.addEventListener("keydown", ({ key }) => key === "Escape" && lit.clear());
  }

  /* The navigation of a long section opens on the page that is read. */
  const current = document.querySelector(".sidebar-tree .current-page > a");
  const scrolled = current?.closest(".sidebar-scroll");
  if (scrolled) {
    const [place, view] = [current, scrolled].map((node) => node.getBoundingClientRect());
    scrolled.scrollBy({ top: place.top - view.top - view.height / 2, behavior: "instant" });
  }

  /* A copy keeps the focus on its button, and says that it is done. */
  const status = document.createElement("div");
  status.className = "for-the-ear";
  status.setAttribute("role", "status");
  document.querySelector("article").append(status);
  document.addEventListener("click", ({ target }) => {
    target.closest(".copybtn")?.focus({ preventScroll: true });
  });
  new MutationObserver(([{ target }]) => {
    status.textContent = target.classList.contains("success") ? target.dataset.tooltip : "";
  }).observe(document.body, { subtree: true, attributeFilter: ["data-tooltip"] });
})();
