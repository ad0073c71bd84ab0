import { render } from "preact";
import { App } from "./app.tsx";
import { startTicker } from "./live/ticker.ts";
import { startRouter } from "./router.ts";
import { startTheme } from "./ui/theme.ts";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/overview.css";
import "./styles/resource.css";

startTheme();
startRouter();
startTicker();

const root = document.getElementById("app");
if (root) render(<App />, root);
