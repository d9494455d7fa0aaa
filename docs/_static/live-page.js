/* Runs the page’s Python in the browser: asked for by the first press of a Run button. */
const FRENCH = {
  run: "Exécuter", edit: "Modifier", stop: "Arrêter", reset: "Rétablir",
  get: (received, total) => `Python arrive\u00a0: ${received} sur ${total}\u00a0Mo`,
  starting: "Django démarre…", going: "En cours…", stopped: "Arrêté",
  same: "A affiché exactement ce que la page montre", silent: "Exécuté\u00a0: rien à afficher",
  differs: "N’a pas affiché ce que la page montre", changed: "Exécuté, avec vos changements",
  above: (number) => `Le bloc ${number}, plus haut, a échoué`,
  error: (line) => `Erreur à la ligne ${line}`, failed: "Erreur", broken: "Python n’a pas pu démarrer\u00a0: ",
  traceback: "Trace complète", log: "Journal", steps: "Ce qui s’est passé",
  code: "Code du bloc", output: "Sortie de votre exécution",
  transaction: "transaction", savepoint: "point de sauvegarde", commit: "commit", publish: "publie",
  waiting: "en attente", never: "jamais appelé", sync: "handler synchrone", async: "après le commit, handler asynchrone",
  raised: "lève", rolledBack: { transaction: "annulée", savepoint: "annulé" }, insert: "écrit dans", replace: "écrit dans", update: "modifie", delete: "efface de",
};
const ENGLISH = {
  run: "Run", edit: "Edit", stop: "Stop", reset: "Reset",
  get: (received, total) => `Python is coming: ${received} of ${total}\u00a0MB`,
  starting: "Django is starting…", going: "Running…", stopped: "Stopped",
  same: "Printed exactly what the page shows", silent: "Run: nothing to show",
  differs: "Did not print what the page shows", changed: "Run, with your changes",
  above: (number) => `Block ${number}, above, failed`,
  error: (line) => `Error at line ${line}`, failed: "Error", broken: "Python could not start: ",
  traceback: "Full traceback", log: "Log", steps: "What happened",
  code: "Code of the block", output: "Output of your run",
  transaction: "transaction", savepoint: "savepoint", commit: "commit", publish: "publishes",
  waiting: "waiting", never: "never called", sync: "sync handler", async: "after the commit, async handler",
  raised: "raises", rolledBack: { transaction: "rolled back", savepoint: "rolled back" }, insert: "writes to", replace: "writes to", update: "updates", delete: "deletes from",
};
const french = document.documentElement.lang === "fr";
const say = french ? FRENCH : ENGLISH;
const megabytes = (bytes) => (bytes / 1e6).toLocaleString(document.documentElement.lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const make = (name, className, ...content) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...content);
  return element;
};
const button = (text, act) => {
  const element = make("button", "", text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
};
const folded = (title, content, open = false) => {
  const details = make("details", "", make("summary", "", title), content);
  details.open = open;
  return details;
};

/* What the reader reads imports from their own package, and what runs imports from src. */
const kernelOf = (name) => name && [".", "/"].map((mark) => `${name.replaceAll(".", mark)}${mark}share_kernel`);
const WRITTEN = kernelOf("src");
const swapped = (text, from, to) =>
  from && to
    ? from.reduce((done, kernel, at) => {
        const whole = new RegExp(`(?<![\\w.])${kernel.replaceAll(".", "\\.")}\\b`, "gu");
        return done.replace(whole, () => to[at]);
      }, text)
    : text;
const named = () => kernelOf(localStorage.getItem("share_kernel.package"));
const toSource = (text) => swapped(text, named(), WRITTEN);
const toReader = (text) => swapped(text, WRITTEN, named());

/* What the bus and the database reported, as nested lists that read aloud. */
const REACTIONS = ["publish", "sync", "async"];
const tells = (step) => REACTIONS.includes(step.kind) || step.steps.some(tells);
const isEmpty = ({ kind, steps }) => ["transaction", "savepoint"].includes(kind) && steps.every((step) => step.kind === "commit" || isEmpty(step));
const shortName = (name) => name.replace(/^<(?:bound )?(?:function|method) (\S+).*/, "$1").replace(/.*\./, "");
const wording = ({ kind, name }, undone) => {
  if (kind === "write") {
    const [verb, ...rest] = name.split(" ");
    return [say[verb], rest.join(" ")];
  }
  if (kind === "waiting") return [undone ? say.never : say.waiting, shortName(name)];
  return [say[kind], kind === "sync" || kind === "async" ? shortName(name) : name];
};
const listed = (steps, undone = false) =>
  make("ol", "", ...steps.filter((step) => !isEmpty(step)).map((step) => {
    const isUndone = undone || step.rolled_back;
    const [label, name] = wording(step, isUndone);
    const item = make("li", `live-${step.kind}`, make("strong", "", label));
    if (name) item.append(" ", make("span", "", name));
    if (step.rolled_back) item.append(" ", make("em", "", say.rolledBack[step.kind]));
    if (isUndone) item.classList.add("live-undone");
    if (step.steps.length) item.append(listed(step.steps, isUndone));
    return item;
  }));

/* One worker for the page, started by the first press. */
let worker;
let current;
const end = (text) => {
  const ended = current;
  current = undefined;
  ended?.over(text);
};
const halt = (text) => {
  worker?.terminate();
  worker = undefined;
  end(text);
};
const hear = ({ data }) => {
  if (!current) return;
  if (data.total) current.status(say.get(megabytes(data.received), megabytes(data.total)));
  else if (data.starting) current.status(say.starting);
  else if (data.ready) current.status(say.going);
  else if (data.broken) halt(say.broken + data.broken);
  else if (data.told) current.told(data.told);
  else if (data.over) end();
};
const send = (request) => {
  if (!worker) {
    worker = new Worker(new URL("live-worker.js", import.meta.url), { type: "module" });
    worker.onmessage = hear;
    worker.onerror = ({ message }) => halt(say.broken + (message ?? ""));
  }
  worker.postMessage(request);
};

const live = (page, blocks, box, position) => {
  const pre = box.querySelector("pre");
  const shown = box.nextElementSibling?.matches(".highlight-text") ? box.nextElementSibling : undefined;
  const bar = box.querySelector(".live-bar");
  const run = bar.querySelector("button");
  const status = make("span", "live-status");
  const result = make("div", "live-result");
  status.setAttribute("role", "status");
  let field;
  const written = () => pre.textContent;
  const block = {
    code: () => toSource(field ? field.value : written()),
    expected: toSource(shown?.querySelector("pre").textContent ?? ""),
    isChanged: () => field !== undefined && toSource(field.value).trimEnd() !== toSource(written()).trimEnd(),
  };

  const clear = () => {
    result.replaceChildren();
    box.classList.remove("live-same", "live-differs");
  };
  const stop = button(say.stop, () => halt(say.stopped));
  const edit = button(say.edit, () => {
    field = make("textarea");
    field.value = written().replace(/\n$/, "");
    field.spellcheck = false;
    field.autocapitalize = "off";
    field.setAttribute("aria-label", say.code);
    const grow = () => (field.rows = field.value.split("\n").length);
    grow();
    field.addEventListener("input", grow);
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      run.click();
    });
    pre.hidden = edit.hidden = true;
    reset.hidden = false;
    pre.after(field);
    field.focus({ preventScroll: true });
  });
  const reset = button(say.reset, () => {
    field.remove();
    field = undefined;
    pre.hidden = edit.hidden = false;
    run.focus({ preventScroll: true }); // what is hidden loses the focus
    reset.hidden = true;
    status.textContent = "";
    clear();
  });

  const show = (done) => {
    const { error, output, log, steps } = done;
    const asIs = blocks.slice(0, position + 1).every((item) => !item.isChanged());
    const isSame = asIs && done.same;
    box.classList.toggle("live-same", isSame);
    box.classList.toggle("live-differs", Boolean(error) || (asIs && !done.same));
    if (done.number !== position) return say.above(done.number + 1);
    if (output && !isSame) { // the same text twice would teach nothing
      const text = make("pre", "", toReader(output));
      text.setAttribute("aria-label", say.output);
      text.tabIndex = 0;
      result.append(text);
    }
    if (error) {
      result.append(make("p", "live-error", toReader(error.message)));
      result.append(folded(say.traceback, make("pre", "", toReader(error.traceback))));
    }
    if (steps.some(tells)) result.append(folded(say.steps, listed(steps), true));
    if (log) result.append(folded(say.log, make("pre", "", toReader(log))));
    if (error) return error.line ? say.error(error.line) : say.failed;
    if (!asIs) return say.changed;
    if (!done.same) return say.differs;
    return block.expected ? say.same : say.silent;
  };
  run.addEventListener("click", () => {
    if (current) halt(say.stopped);
    let last;
    clear();
    stop.hidden = false;
    bar.classList.add("live-busy");
    status.textContent = say.going;
    current = {
      status: (text) => (status.textContent = text),
      told: (done) => (last = done),
      over(text) {
        bar.classList.remove("live-busy");
        if (document.activeElement === stop) run.focus({ preventScroll: true });
        stop.hidden = true;
        status.textContent = text ?? show(last);
      },
    };
    const asked = blocks.slice(0, position + 1);
    send({ page, blocks: asked.map((item) => ({ code: item.code(), expected: item.expected })) });
  });

  reset.hidden = stop.hidden = true;
  bar.replaceChildren(run, edit, stop, reset, status);
  (shown ?? box).after(result);
  return block;
};

let started;
/* Gives each block of the page its buttons, once. */
export const start = (page) =>
  (started ??= new Promise((resolve, reject) => {
    const style = make("link");
    style.rel = "stylesheet";
    style.href = new URL("live.css", import.meta.url);
    style.onload = resolve;
    style.onerror = () => reject((started = undefined));
    document.head.append(style);
  }).then(() => {
    const blocks = [];
    for (const [position, box] of [...document.querySelectorAll("div.live")].entries()) {
      const run = box.querySelector(".live-bar button");
      run.replaceWith(run.cloneNode(true)); // without what the first press did
      blocks.push(live(page, blocks, box, position));
    }
  }));
