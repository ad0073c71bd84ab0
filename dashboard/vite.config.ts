import { defineConfig } from "vite";

// Where `npm run dev` finds a node.
const node = process.env.RATEQUEUE_URL ?? "http://127.0.0.1:7600";

export default defineConfig({
  base: "./",
  build: {
    outDir: process.env.DASHBOARD_OUT ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    // The policy of the server has no place for inline scripts, and one small bundle needs no preloading.
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      // Unit tests and browsers see the same modules; names of chunks depend on their content only.
      output: { entryFileNames: "assets/[name]-[hash].js", assetFileNames: "assets/[name]-[hash][extname]" },
    },
  },
  server: { proxy: { "/v1": node, "/readyz": node } },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
} as Parameters<typeof defineConfig>[0]);
