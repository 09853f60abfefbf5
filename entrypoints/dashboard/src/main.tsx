/** Starts the dashboard. All views import `app.tsx`, so that it is one file with all that they share. */
import "./app.tsx";
