import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The API answers under the app's own origin, so its session cookie is the app's: no token, no CORS.
const target = process.env["API"] ?? "http://127.0.0.1:8000";
const proxy = { "/graphql": { target, ws: true }, "/auth": { target } };
const host = "127.0.0.1"; // development sign-in answers on this machine only

export default defineConfig({
  plugins: [react()],
  server: { host, proxy },
  preview: { host, proxy },
});
