/* Ranks the pages by how much of the question they answer, rather than by one of its words.

   Sphinx keeps only the pages that hold every word, and gives them the score of their best one.
   A question has words that no page uses: the others count, the rarest first, and more in a
   title than in the text. */

Scorer.objPartialMatch = -2; // « event » is part of most names
const PLACES = { title: 1, question: 0.8, heading: 0.65, text: 0.4 };
const PART_OF_A_WORD = 0.5;
const KINDS = { guides: 1.1, decisions: 0.85 }; // who asks wants to do, not to debate
const FULL_SCORE = 20; // an identifier written in full has 16
const ENOUGH = 0.35; // of the question

const numbers = (files) => (files === undefined ? [] : [files].flat());
const kindOf = (docname) => KINDS[docname.split("/")[0]] ?? 1;

/* The keywords of a page are what its readers ask: the index keeps each as one term, with its
   spaces, whose last word alone lost its ending. */
const questionsOf = (stemmer) =>
  Object.entries(Search._index.terms)
    .filter(([term]) => term.includes(" "))
    .map(([term, files]) => [splitQuery(term).map((word) => stemmer.stemWord(word)), files]);

const isAlike = (word, part) =>
  part.startsWith(word) ||
  (part.length > 3 && !word.includes("_") && word.startsWith(part)); // an identifier has no endings

const wordsThatHold = (word, terms) =>
  Object.keys(terms).filter(
    (term) => !term.includes(" ") && (term.startsWith(word) || term.includes(`_${word}`)),
  );

/* The pages that hold this word, each with the weight of the best place. */
const placesOf = (word, titleWords, questions) => {
  const { terms, titleterms } = Search._index;
  const weights = new Map();
  const add = (files, weight) =>
    numbers(files).forEach((file) =>
      weights.set(file, Math.max(weight, weights.get(file) ?? 0)),
    );
  const addWord = (term, share) => {
    if (Object.hasOwn(terms, term)) add(terms[term], PLACES.text * share);
    if (Object.hasOwn(titleterms, term))
      numbers(titleterms[term]).forEach((file) =>
        add(file, share * (titleWords[file].has(term) ? PLACES.title : PLACES.heading)),
      );
  };
  addWord(word, 1);
  if (!weights.size && word.length > 2)
    for (const index of [terms, titleterms])
      wordsThatHold(word, index).forEach((term) => addWord(term, PART_OF_A_WORD));
  if (word.length > 2)
    for (const [parts, files] of questions)
      if (parts.some((part) => isAlike(word, part))) add(files, PLACES.question);
  return weights;
};

Search.performTermsSearch = (searchTerms, excludedTerms) => {
  const { titles, docnames, filenames } = Search._index;
  const stemmer = new Stemmer();
  const titleWords = titles.map(
    (title) => new Set(splitQuery(title.toLowerCase()).map((word) => stemmer.stemWord(word))),
  );
  const questions = questionsOf(stemmer);
  const excluded = new Set(
    [...excludedTerms].flatMap((word) => [...placesOf(word, titleWords, questions).keys()]),
  );
  const scores = new Map();
  let question = 0;
  for (const word of searchTerms) {
    const weights = placesOf(word, titleWords, questions);
    if (!weights.size) continue;
    const rarity = Math.log(1 + titles.length / weights.size);
    question += rarity;
    for (const [file, weight] of weights) {
      const [value, answered] = scores.get(file) ?? [0, 0];
      scores.set(file, [value + rarity * weight, answered + rarity]);
    }
  }
  return [...scores]
    .filter(([file, [_value, answered]]) => answered >= ENOUGH * question && !excluded.has(file))
    .map(([file, [value]]) => [
      docnames[file],
      titles[file],
      "",
      null,
      (FULL_SCORE * kindOf(docnames[file]) * value) / question,
      filenames[file],
      SearchResultKind.text,
    ]);
};

/* The sentence that holds most of the words, rather than what surrounds the first of them: often
   the imports of an example. A page that holds them only in its code shows a line of it. */
const LONGEST = 240;
const linesOf = (place, selector, end) =>
  [...place.querySelectorAll(selector)].flatMap((block) => block.textContent.split(end));
const doesSomething = (line) => /[(=]/.test(line) && !/^\s*(from|import) /.test(line);

const excerptOf = (place, words) => {
  const stemmer = new Stemmer();
  const held = (line) => {
    const stems = splitQuery(line.toLowerCase()).map((word) => stemmer.stemWord(word));
    return words.filter((word) => stems.some((stem) => stem.startsWith(word))).length;
  };
  const best = (lines) => {
    const counts = lines.map(held);
    const most = Math.max(0, ...counts);
    return most ? lines[counts.indexOf(most)].trim() : "";
  };
  return (
    best(linesOf(place, "p", /(?<=[.!?…])\s+/)) ||
    best(linesOf(place, "dt", /$/)) ||
    best(linesOf(place, "pre", "\n").filter(doesSomething))
  );
};

Search.makeSearchSummary = (html, words, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll(".headerlink").forEach((link) => link.remove());
  const place = page.getElementById(anchor.slice(1)) ?? page.querySelector("[role=main]");
  const described = page.querySelector("meta[name=description]")?.content ?? "";
  const text = excerptOf(place, [...words]) || described; // found by its keywords
  const summary = document.createElement("p");
  summary.className = "context";
  const section = page.querySelector(".breadcrumb li:nth-child(2) > a");
  if (section) {
    const name = document.createElement("span");
    name.className = "section";
    name.textContent = section.textContent;
    summary.append(name);
  }
  summary.append(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
  return summary;
};

/* Nothing found: the words and links that the page holds ready, not a sentence about categories. */
const query = Search.query;
Search.query = (words) => {
  if (Search._performSearch(...Search._parseQuery(words)).length) return query(words);
  Search.stopPulse();
  Search.title.remove();
  Search.status.replaceWith(document.getElementById("nothing-found").content.cloneNode(true));
  Search.output.remove();
};
