//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-YKXF4Y42.js";import"./chunk-JDJRD3IH.js";export{a as Activity,b as Invitations,c as NewProject};
