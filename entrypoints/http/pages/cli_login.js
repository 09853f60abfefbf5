"use strict";
// Login of a command line (api.md, section 9): signs the person in, lets them choose a project,
// gets a code for it, and sends the code to the loopback address on which the command line listens.
// Parameters of the link are shown as text, and sent only to this service and to that address.
(() => {
  const TIMEOUT_MS = 30_000;
  const LABEL_MAX = 255;
  const $ = (id) => document.getElementById(id);
  const VERIFIER = "pp.cli-verifier"; // in this tab, until there is a code; it opens nothing by itself
  let token = null; // stored nowhere else
  let reach = null; // of the session, once there is one: {email, organizations, projects}

  /** Parses the link: {port, state, challenge, label, version, reasons}; `reasons` are its errors. */
  function readLink(search) {
    const words = new URLSearchParams(search);
    const reasons = [];
    const one = (name) => {
      const found = words.getAll(name);
      if (found.length === 1 && found[0].trim() !== "") return found[0];
      reasons.push(found.length > 1 ? `“${name}” is there more than once` : `“${name}” is missing`);
      return null;
    };
    const port = one("port");
    if (port !== null && !(/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65535)) {
      reasons.push("“port” is not a port: a whole number from 1 to 65535");
    }
    const state = raw(search, "state");
    if (one("state") !== null && state === "") reasons.push("“state” is written in an unusual way");
    const challenge = one("code_challenge");
    const method = one("code_challenge_method");
    if (method !== null && method !== "S256") reasons.push("“code_challenge_method” is not S256");
    const label = one("label");
    if (label !== null && [...label].length > LABEL_MAX) {
      reasons.push(`“label” is longer than ${LABEL_MAX} characters`);
    }
    return { port, state, challenge, label, version: words.get("cli_version"), reasons };
  }

  /** A query parameter as it was sent: decoding and encoding it could change it. */
  function raw(search, name) {
    const pair = search.slice(1).split("&").find((each) => each.startsWith(`${name}=`));
    return pair === undefined ? "" : pair.slice(name.length + 1);
  }

  const link = readLink(location.search);
  const callback = `http://127.0.0.1:${link.port}/callback`;

  /** Redirects to the command line with these parameters and its state. */
  function goBack(words) {
    const said = Object.entries(words).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    leaving = true;
    say("Going back to the command line …");
    location.assign(`${callback}?${[...said, `state=${link.state}`].join("&")}`);
  }

  function goBackWith(error) {
    goBack({ error: error.code, error_description: plain(error.message) });
  }

  /** Printable ASCII without the special characters of JSON and HTML (RFC 6749, section 4.1.2.1). */
  function plain(text) {
    return text.replace(/[^\x20-\x7e]|["\\<>&]/g, " ").slice(0, 200);
  }

  class Refusal extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }

    /** The error code of RFC 6749. */
    get code() {
      if (this.status === 401 || this.status === 403) return "access_denied";
      if (this.status === 429 || this.status === 503) return "temporarily_unavailable";
      return this.status >= 400 && this.status < 500 ? "invalid_request" : "server_error";
    }
  }

  /** Sends a request to this service and returns the body. Throws Refusal. */
  async function ask(method, path, body) {
    let answer, received;
    const headers = { Accept: "application/json" };
    const verifier = sessionStorage.getItem(VERIFIER);
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    else if (verifier !== null) headers["X-Session-Verifier"] = verifier;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: token === null && verifier !== null ? "same-origin" : "omit",
        redirect: "error",
        referrerPolicy: "strict-origin", // without one some browsers send no Origin either
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      received = await answer.json();
    } catch {
      throw new Refusal(0, "The service does not answer. Is it still running?");
    }
    if (answer.ok) return received;
    const fields = Array.isArray(received.errors) ? received.errors.map((one) => `${one.field} ${one.message}`) : [];
    const wait = answer.status === 429 && answer.headers.get("Retry-After");
    const detail = typeof received.detail === "string" ? received.detail : `The service answered ${answer.status}`;
    throw new Refusal(answer.status, [detail, ...fields, wait ? `wait ${wait} s` : ""].filter(Boolean).join("; "));
  }

  function say(text) {
    $("status").textContent = text;
  }

  let problem = null;

  function complain(error) {
    problem = error;
    $("problem-text").textContent = error === null ? "" : error.message;
    $("problem").hidden = error === null;
  }

  function show(step, focus) {
    for (const one of ["sign-in", "choose"]) $(one).hidden = one !== step;
    if (focus) focus.focus();
  }

  /** Runs one step at a time, and shows its errors. */
  let busy = false;
  let leaving = false;
  async function step(doing, work, failed = () => {}) {
    if (busy) return;
    busy = true;
    complain(null);
    say(doing);
    for (const one of document.querySelectorAll("button.main")) one.disabled = true;
    try {
      await work();
      if (!leaving) say("");
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      say("");
      complain(error instanceof Refusal ? error : new Refusal(500, "This page ran into a fault"));
      failed(error);
    } finally {
      busy = false;
      for (const one of document.querySelectorAll("button.main")) one.disabled = false;
      $("authorize").disabled = $("project").options.length === 0;
    }
  }

  function fill(select, items) {
    select.replaceChildren(...items.map((item) => new Option(item.name, item.id)));
  }

  function askForToken() {
    token = reach = null;
    sessionStorage.removeItem(VERIFIER);
    $("person-row").hidden = true;
    show("sign-in", $("token"));
  }

  /** Signs in with the token and shows its organizations and projects. */
  async function enter() {
    reach = token === null ? await ask("GET", "/cli/auth/session") : null;
    const organizations = reach === null ? await ask("GET", "/organizations") : reach.organizations;
    fill($("organization"), organizations);
    await listProjects();
    $("person").textContent = await email();
    $("person-row").hidden = false;
    $("token").value = "";
    show("choose", $(organizations.length > 1 ? "organization" : "project"));
  }

  async function email() {
    if (reach !== null) return reach.email;
    try {
      return (await ask("GET", "/me")).email;
    } catch {
      return "the owner of this token"; // informative only
    }
  }

  async function listProjects() {
    $("project").replaceChildren();
    let organization, projects;
    do {
      organization = $("organization").value;
      projects =
        reach === null
          ? await ask("GET", `/organizations/${encodeURIComponent(organization)}/projects`)
          : reach.projects.filter((one) => one.org_id === organization);
    } while (organization !== $("organization").value); // the person chose another one meanwhile
    fill($("project"), projects);
    if (projects.length === 0) complain(new Refusal(404, "This organization has no project yet"));
  }

  function toBase64Url(bytes) {
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  }

  /** Leaves for the identity provider, which sends the browser back to this link. */
  async function leaveForProvider() {
    if (!crypto.subtle) throw new Refusal(400, "Browsers allow this over HTTPS only, except on the machine of the service: paste a token");
    const verifier = toBase64Url(crypto.getRandomValues(new Uint8Array(32)));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    sessionStorage.setItem(VERIFIER, verifier);
    const to = `/cli-login${location.search.replace(/&sign_in_problem=[^&]*/g, "")}`;
    leaving = true;
    location.assign(`session/sign-in?bind=${toBase64Url(new Uint8Array(digest))}&to=${encodeURIComponent(to)}`);
  }

  /** Shows why the sign-in with the identity provider didn't succeed. */
  async function explain(code) {
    const received = await ask("GET", `/session?problem=${encodeURIComponent(code)}`);
    throw new Refusal(401, received.problem ?? "The sign-in didn't succeed");
  }

  function refused(error) {
    $("choose").inert = false;
    if (error.status === 401) askForToken();
  }

  async function authorize() {
    $("choose").inert = true;
    const issued = await ask("POST", "/cli/auth/codes", {
      org_id: $("organization").value,
      project_id: $("project").value,
      code_challenge: link.challenge,
      code_challenge_method: "S256",
      label: link.label,
      expires_days: 90,
    });
    sessionStorage.removeItem(VERIFIER); // the session was for one code
    goBack({ code: issued.code });
  }

  $("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = $("token").value.trim().replace(/^bearer\s+/i, "");
    $("token").removeAttribute("aria-invalid");
    step(
      "Signing in …",
      async () => {
        // Other characters can't be sent in a header.
        if (!/^[\x21-\x7e]+$/.test(given)) throw new Refusal(401, "This is not a token");
        token = given;
        await enter();
      },
      (error) => {
        if (error.status === 401) $("token").setAttribute("aria-invalid", "true");
        askForToken();
      },
    );
  });
  $("organization").addEventListener("change", () => step("Looking up its projects …", listProjects, refused));
  $("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    step("Authorizing …", authorize, refused);
  });
  $("other-person").addEventListener("click", () => {
    complain(null);
    askForToken();
  });
  $("provider").addEventListener("click", () => step("Going to your identity provider …", leaveForProvider));
  $("hand-back").addEventListener("click", () => goBackWith(problem));
  for (const one of document.querySelectorAll(".cancel")) {
    one.addEventListener("click", () => goBackWith({ code: "access_denied", message: "Cancelled in the browser" }));
  }

  // A person who navigates back sees the initial page, without the token.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  if (link.reasons.length > 0) {
    $("reasons").replaceChildren(
      ...link.reasons.map((reason) => {
        const item = document.createElement("li");
        item.textContent = reason;
        return item;
      }),
    );
    $("refused").hidden = false;
    $("title").focus();
    return;
  }
  $("endpoint-command").textContent = `pandaprobe config set endpoint ${new URL(".", location.href).href.replace(/\/$/, "")}`;
  $("label").textContent = link.label;
  $("address").textContent = callback;
  $("version").textContent = link.version;
  $("version-row").hidden = !link.version;
  $("request").hidden = false;
  const ways = document.body.dataset.signIn.split(" ");
  const failed = new URLSearchParams(location.search).get("sign_in_problem");
  $("provider-row").hidden = !ways.includes("provider");
  if (failed !== null) {
    step("Signing in …", () => explain(failed), askForToken);
  } else if (sessionStorage.getItem(VERIFIER) !== null) {
    step("Signing in …", enter, askForToken);
  } else if (ways.includes("development")) {
    step(
      "Signing in …",
      async () => {
        token = (await ask("POST", "/cli-login/token")).token;
        await enter();
      },
      askForToken,
    );
  } else {
    askForToken();
  }
})();
