//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-5SG3Z3EQ.js";import"./chunk-2ZR6V6YN.js";export{a as Activity,b as Invitations,c as NewProject};
