import base from "./playwright.config.ts";

/** The pictures of the documentation: `./e2e.sh -c screenshots.config.ts`. */
export default { ...base, testDir: "screenshots", timeout: 180_000, workers: 1 };
