//# allFunctionsCalledOnLoad
import{Q as a,R as b,S as c}from"./chunk-NMVZGDJZ.js";import"./chunk-AHXCZJGI.js";export{a as Activity,b as Invitations,c as NewProject};
