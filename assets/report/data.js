// Where the page's data comes from: blocks inside the page, or the program that serves it.
// Not here: what the data means (`src/report`), how it is shown.

const IS_LIVE = document.documentElement.dataset.mode === "live";
/** Unpacked chunks that are kept, the last used ones. */
const KEPT_CHUNKS = 24;
const POLL_MS = 2000;

/** Base64 of gzip of JSON, as a value. */
async function unpacked(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack the page's data; Chrome 80, Firefox 113 and Safari 16.4 can");
  }
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Data inside the page. */
const embedded = {
  block: (id) => here(id).textContent,
  summary: () => unpacked(embedded.block("data-summary")),
  index: () => unpacked(embedded.block("data-index")),
  chunk: (source, chunk) => unpacked(embedded.block(`data-chunk-${source}-${chunk}`)),
  picture(place) {
    const addresses = embedded.block(`data-picture-${place}`);
    return addresses.startsWith("data:image/") ? addresses : null;
  },
};

/** Data of the program that serves the page. */
const served = {
  async json(path) {
    const answer = await fetch(path, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()) || `${path}: ${answer.status}`);
    return answer.json();
  },
  summary: () => served.json("summary"),
  index: () => served.json("index"),
  chunk: (source, chunk) => served.json(`chunk/${source}/${chunk}`),
  picture: (place) => `picture/${place}`,
};

const data = IS_LIVE ? served : embedded;
const chunks = new Map();

/** The completions of a group: those of its chunk are unpacked together. */
async function completionsOf(source, group) {
  let chunk = 0;
  let first = 0;
  while (group >= first + source.chunks[chunk]) first += source.chunks[chunk++];
  const key = `${source.place}/${chunk}/${source.chunks[chunk]}`;
  const groups = chunks.get(key) ?? data.chunk(source.place, chunk);
  chunks.delete(key);
  chunks.set(key, groups);
  if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
  try {
    return (await groups)[group - first];
  } catch (problem) {
    chunks.delete(key);
    throw problem;
  }
}

/** Asks again and again whether a run has written more, and calls `react` with the new summary. */
function follow(version, react) {
  const ask = async () => {
    try {
      const answer = document.hidden ? null : await fetch(`summary?have=${version}`, { cache: "no-store" });
      if (answer && answer.status === 200) {
        const summary = await answer.json();
        version = summary.version;
        await react(summary, null);
      } else if (answer && answer.status !== 204) {
        await react(null, await answer.text());
      } else if (answer) {
        await react(null, null);
      }
    } catch {
      await react(null, "the program that serves this page has ended; what it showed last stays");
    }
    setTimeout(ask, POLL_MS);
  };
  setTimeout(ask, POLL_MS);
}
