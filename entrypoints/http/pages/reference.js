"use strict";
// Shows the OpenAPI document with Swagger UI, and gives its calls the credentials of the form.
// These are kept in this page's memory alone, and sent to nobody but this service.
(() => {
  const $ = (id) => document.getElementById(id);
  const FOLDED = "evaluations"; // the largest part, until somebody opens it
  let ui = null;
  let schemes = {}; // by name, as the document has them

  /** Swagger UI's own dark style, where the person's system is dark. */
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shade = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", shade);
  shade();

  function complain(text) {
    $("problem").textContent = text;
    $("problem").hidden = text === "";
  }

  /** The document as forms need it: what may be left out is left out until somebody fills it in. */
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
    },
    statePlugins: {
      // Of 150 rows and more Swagger UI keeps only those in sight: a page that can't be searched.
      layout: {
        wrapSelectors: {
          isShown: (original) => (_, thing, usual) =>
            original(thing, thing[0] === "operations-tag" ? thing[1] !== FOLDED : usual),
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
      docExpansion: "list",
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

  function forget() {
    const used = [...ui.authSelectors.authorized().keys()];
    if (used.length > 0) ui.authActions.logout(used); // of none it is an error
    $("forget").hidden = true;
    $("said").textContent = "Calls are sent without credentials.";
  }

  function use(event) {
    event.preventDefault();
    if (ui === null) return;
    forget();
    const sent = [];
    for (const input of event.target.querySelectorAll("input")) {
      const name = input.dataset.scheme;
      const value = input.value.trim().replace(/^bearer\s+/i, "");
      if (value === "") continue;
      ui.authActions.authorize({ [name]: { name, schema: schemes[name], value } });
      sent.push(schemes[name].name ?? "Authorization");
    }
    $("forget").hidden = false;
    $("said").textContent = `Calls are sent with ${sent.join(", ")}.`;
  }

  for (const form of document.forms) form.addEventListener("submit", use);
  document.querySelector(".ways").addEventListener("change", choose);
  $("forget").addEventListener("click", () => {
    for (const form of document.forms) form.reset();
    forget();
    choose().querySelector("input").focus();
  });

  choose();
  show().catch((error) => {
    console.error(error);
    complain(`${error.message}. The OpenAPI document: ${location.origin}/openapi.json`);
  });
})();
