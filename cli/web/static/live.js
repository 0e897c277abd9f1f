// Keeps the parts of the page fresh that carry data-live, while somebody looks at it, and tells the browser's zone.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.split("; ").includes(`zone=${zone}`)) {
  document.cookie = `zone=${zone}; path=/; SameSite=Strict; max-age=31536000`;
  if (document.documentElement.dataset.zone !== zone && document.cookie.includes(`zone=${zone}`)) location.reload();
}

// A form is sent once, however often somebody presses.
addEventListener("submit", (event) => {
  const button = event.target.querySelector("button");
  if (button) setTimeout(() => (button.disabled = true));
});
addEventListener("pageshow", () => document.querySelectorAll("button").forEach((button) => (button.disabled = false)));

async function refresh(part) {
  const answer = await fetch(location.href, { headers: { "X-Live": "1" }, cache: "no-store" });
  const onwards = answer.headers.get("Nightshift-Go");
  if (onwards) return location.assign(onwards);
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    // What somebody is using stays as it is until they have gone on.
    if (!fresh || old.contains(document.activeElement)) continue;
    if (fresh.innerHTML !== old.innerHTML) update(old, fresh);
    if (!fresh.dataset.live) delete old.dataset.live; // it is at its end
  }
  document.title = page.title;
}

// A text that is told aloud changes in place, else it would not be told; and so does a bar. All else is replaced.
function update(old, fresh) {
  const [these, those] = [[...old.children], [...fresh.children]];
  if (!old.querySelector("[aria-live], progress") || these.length !== those.length) {
    return old.replaceChildren(...fresh.childNodes);
  }
  these.forEach((one, place) => {
    const its = those[place];
    if (one.matches("[aria-live]") && its.matches("[aria-live]")) {
      if (one.textContent !== its.textContent) one.replaceChildren(...its.childNodes);
    } else if (one.matches("progress") && its.matches("progress")) {
      [one.max, one.value] = [its.max, its.value];
    } else if (one.querySelector("[aria-live], progress")) {
      update(one, its);
    } else if (one.outerHTML !== its.outerHTML) {
      one.replaceWith(its);
    }
  });
  return undefined;
}

async function look() {
  const part = document.querySelector("[data-live]");
  if (!part) return;
  const seconds = Number(part.dataset.live);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  if (document.visibilityState === "visible") {
    try {
      await refresh(part);
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  look();
}

look();
