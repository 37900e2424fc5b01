// An upstream of express, which tells the handler that took the path. usage: node paths.js PORT
const express = require("express");

const app = express();
app.get("/admin", (request, response) => response.send("admin"));
app.get("/in/ok", (request, response) => response.send("ok"));
app.use("/in", (request, response) => response.send("in"));
app.use((request, response) => response.send("rest"));
app.listen(Number(process.argv[2]), "127.0.0.1");
