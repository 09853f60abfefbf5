//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-TY34GUEZ.js";import"./chunk-WG2QA65A.js";export{a as Activity,b as Invitations,c as NewProject};
