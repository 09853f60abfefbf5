"use strict";
// Shows the OpenAPI document with Swagger UI, and gives its calls the credentials of the form.
// These are kept in this page's memory alone, and sent to this service only.
(() => {
  const $ = (id) => document.getElementById(id);
  const UNFOLDED_MAX = 60; // operations that a search shows: more stay folded, as they take a second
  const OTHER = ""; // the value of the choice "Another project"
  let ui = null;
  let schemes = {}; // by name, as the document has them
  let found = 0; // operations that the search found
  let holder = null; // who the credential in use is, and what it opens

  /** Swagger UI's own dark style, where the person's system is dark. */
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shade = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", shade);
  shade();

  function complain(text) {
    $("problem").textContent = text;
    $("problem").hidden = text === "";
  }

  /** The document as forms need it: what may be left out is left out until it is filled in. */
  function forForms(whole) {
    for (const operation of Object.values(whole.paths).flatMap(Object.values)) {
      for (const parameter of operation.parameters) {
        if (parameter.required) continue;
        delete parameter.example;
        const [kind] = parameter.schema.anyOf ?? [parameter.schema];
        parameter.schema = { ...kind };
      }
    }
    return whole;
  }

  /**
   * The part of the document at `path`, with what its references mean in their place.
   *
   * Swagger UI would normalize the whole document for each part, which takes seconds. Ours refers
   * to its own components only. A reference within what it refers to stays.
   */
  function resolve(whole, path) {
    const at = (names) => names.reduce((part, name) => part?.[name], whole) ?? null;
    const within = (part, around) => {
      if (part === null || typeof part !== "object") return part;
      if (Array.isArray(part)) return part.map((one) => within(one, around));
      const { $ref, ...own } = part;
      const inner = Object.fromEntries(Object.entries(own).map(([name, one]) => [name, within(one, around)]));
      if (typeof $ref !== "string") return inner;
      if (around.includes($ref)) return part;
      const meant = at($ref.slice(2).split("/")); // after `#/`
      return { ...within(meant, [...around, $ref]), ...inner, $$ref: $ref };
    };
    return within(at(path), []);
  }

  /** What is ours within Swagger UI. */
  const Ours = ({ getSystem }) => ({
    components: {
      // Descriptions are text with `code` in it, and no HTML is ever made of one.
      Markdown: ({ source }) => {
        const { createElement } = getSystem().React;
        const parts = String(source ?? "").split("`");
        const shown = parts.map((part, at) => (at % 2 ? createElement("code", { key: at }, part) : part));
        return createElement("p", { className: "renderedMarkdown" }, ...shown);
      },
      InfoContainer: () => null, // the page's own head tells it
      FilterContainer: ({ layoutActions }) => {
        const { createElement } = getSystem().React;
        let waiting = 0;
        const search = (event) => {
          const text = event.target.value;
          clearTimeout(waiting);
          waiting = setTimeout(() => layoutActions.updateFilter(text), 200);
        };
        const looks = { className: "operation-filter-input", type: "search", spellCheck: false };
        const label = "Search the calls: words, a path, a method";
        const field = createElement("input", { ...looks, placeholder: label, "aria-label": label, onChange: search });
        return createElement("div", { className: "wrapper" }, field);
      },
    },
    fn: {
      resolveSubtree: async (whole, path) => ({ spec: resolve(whole, path), errors: [] }),
      // Operations with every word of the search in their tag, method, path, name or summary.
      opsFilter: (tagged, search) => {
        const words = search.toLowerCase().split(/\s+/);
        const matches = (one, tag) => {
          const operation = one.get("operation");
          const parts = [tag, one.get("method"), one.get("path"), operation.get("operationId"), operation.get("summary")];
          const text = parts.join(" ").toLowerCase();
          return words.every((word) => text.includes(word));
        };
        const shown = tagged
          .map((part, tag) => part.update("operations", (all) => all.filter((one) => matches(one, tag))))
          .filter((part) => part.get("operations").size > 0);
        found = shown.reduce((sum, part) => sum + part.get("operations").size, 0);
        return shown;
      },
    },
    statePlugins: {
      // Tags are folded, because rendering all rows takes seconds; a search unfolds what it finds.
      layout: {
        wrapSelectors: {
          isShown: (original) => (state, thing, usual) => {
            const search = state.get("filter");
            const isSearched = typeof search === "string" && search !== "" && found <= UNFOLDED_MAX;
            return original(thing, thing[0] === "operations-tag" ? isSearched : usual);
          },
        },
      },
      auth: {
        // The padlock of a call leads to the one form, where it says which credentials it takes.
        wrapActions: { showDefinitions: () => (wanted) => wanted && askFor(wanted) },
      },
    },
  });

  async function show() {
    const answer = await fetch("/openapi.json", { credentials: "omit" });
    if (!answer.ok) throw new Error(`The OpenAPI document can't be had: ${answer.status}`);
    const spec = forForms(await answer.json());
    schemes = spec.components.securitySchemes;
    ui = SwaggerUIBundle({
      spec,
      domNode: $("reference"),
      presets: [SwaggerUIBundle.presets.apis],
      plugins: [Ours],
      layout: "BaseLayout",
      deepLinking: true,
      docExpansion: "none",
      defaultModelsExpandDepth: 0,
      displayRequestDuration: true,
      tryItOutEnabled: true,
      filter: true,
      persistAuthorization: false,
      queryConfigEnabled: false,
      validatorUrl: null,
    });
  }

  /** The form of the way that is chosen. */
  function choose() {
    const way = document.querySelector("input[name=way]:checked").value;
    for (const form of document.forms) form.hidden = form.id !== `of-${way}`;
    return $(`of-${way}`);
  }

  function askFor(wanted) {
    const names = wanted.toJS().flatMap(Object.keys);
    const other = document.querySelector("input[name=way]:not(:checked)");
    if (other.value === "token" && !names.includes("ApiKey")) other.checked = true;
    const form = choose();
    $("credentials").scrollIntoView({ block: "center" });
    form.querySelector("input").focus();
  }

  const field = (scheme) => document.querySelector(`[data-scheme=${scheme}]`);
  const say = (text) => ($("said").textContent = text);

  /** Offers these choices, each a text and a value; without any, the field is hidden. */
  function offer(scheme, choices) {
    const select = field(scheme);
    select.replaceChildren(...choices.map(([text, value]) => new Option(text, value)));
    select.parentElement.hidden = choices.length === 0;
  }

  function offerProjects() {
    const isOf = (project) => holder.key || project.org_id === field("OrganizationID").value;
    const ours = holder.projects.filter(isOf);
    if (holder.key) offer("ProjectName", [...ours.map((one) => [one.name, one.name]), ["Another project …", OTHER]]);
    else offer("ProjectID", ours.map((one) => [one.name, one.id]));
  }

  function forget() {
    const used = [...ui.authSelectors.authorized().keys()];
    if (used.length > 0) ui.authActions.logout(used); // of none it is an error
    $("forget").hidden = true;
  }

  /** Gives the calls the checked credential and what is chosen of it. */
  function authorize() {
    forget();
    const sent = [];
    const send = (name, value) => {
      if (value === "") return;
      ui.authActions.authorize({ [name]: { name, schema: schemes[name], value } });
      sent.push(schemes[name].name ?? "Authorization");
    };
    send(holder.scheme, holder.value);
    if (holder.key) {
      const typed = $("typed").querySelector("input");
      $("typed").hidden = field("ProjectName").value !== OTHER;
      send("ProjectName", field("ProjectName").value || typed.value.trim());
    } else {
      send("OrganizationID", field("OrganizationID").value);
      send("ProjectID", field("ProjectID").value);
    }
    const who = holder.key ? `The key “${holder.key.name}” of ${holder.organizations[0].name}` : holder.user.email;
    $("forget").hidden = false;
    say(`${who}. Calls are sent with ${sent.join(", ")}.`);
  }

  /** Asks the service whose credential it is. Throws an Error with the reason for people. */
  async function check(scheme, value) {
    const answer = await fetch("/session/check", {
      method: "POST",
      credentials: "omit",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ [scheme === "ApiKey" ? "key" : "token"]: value }),
    });
    const received = await answer.json();
    if (!answer.ok) throw new Error(received.detail);
    return { ...received, scheme, value };
  }

  async function use(event) {
    event.preventDefault();
    if (ui === null) return;
    const input = event.target.querySelector("input");
    const value = input.value.trim().replace(/^bearer\s+/i, "");
    if (holder === null || holder.value !== value) {
      clear();
      say("Checking …");
      try {
        holder = await check(input.dataset.scheme, value);
      } catch (error) {
        say(`It isn't used: ${error.message}.`);
        input.focus();
        return;
      }
      if (!holder.key) offer("OrganizationID", holder.organizations.map((one) => [one.name, one.id]));
      offerProjects();
    }
    authorize();
  }

  /** Forgets who it was and what could be chosen. */
  function clear() {
    forget();
    holder = null;
    for (const scheme of ["ProjectName", "OrganizationID", "ProjectID"]) offer(scheme, []);
    $("typed").hidden = true;
  }

  for (const select of document.querySelectorAll("select")) {
    select.addEventListener("change", () => {
      if (select === field("OrganizationID")) offerProjects();
      authorize();
    });
  }
  for (const form of document.forms) form.addEventListener("submit", use);
  document.querySelector(".ways").addEventListener("change", choose);
  $("forget").addEventListener("click", () => {
    for (const form of document.forms) form.reset();
    clear();
    say("Calls are sent without credentials.");
    choose().querySelector("input").focus();
  });

  choose();
  show().catch((error) => {
    console.error(error);
    complain(`${error.message}. The OpenAPI document: ${location.origin}/openapi.json`);
  });
})();
