// Shows the description of the API. The token of "Authorize" is forgotten with the page.
globalThis.SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  // No server of others checks the document.
  validatorUrl: null,
});
